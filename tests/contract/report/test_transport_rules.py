"""Each rule about registers, status, features and rings: a driver that breaks it alone."""

from __future__ import annotations

import pytest

from tests.support.rule_rig import PLAIN, RESET, SIZE, Breaks, Holder, RuleRig, rule_rig
from virtmesh.report.rules import features, find_rule, mmio, status
from virtmesh.testing.scripted_driver import DRIVEN, LIVE, NEGOTIATED
from virtmesh.virtio.quirks import QEMU_VENDOR_ID
from virtmesh_common.virtio import mmio as registers
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

breaks = Breaks()


# -- Status ---------------------------------------------------------------------------------------


@breaks("probe-first")
async def _(rig: RuleRig) -> None:
    await rig.driver.reset()
    rig.put(registers.STATUS, Status.ACKNOWLEDGE)


@breaks("init-reset")
def _(rig: RuleRig) -> None:
    rig.probe()
    rig.put(registers.STATUS, Status.ACKNOWLEDGE)


@breaks("status-order")
async def _(rig: RuleRig) -> None:
    rig.probe()
    await rig.driver.reset()
    rig.put(registers.STATUS, LIVE)


@breaks("status-clear")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    rig.put(registers.STATUS, DRIVEN)


@breaks("status-bits")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    rig.put(registers.STATUS, NEGOTIATED | Status.SUSPEND)


@breaks("failed-reset")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    rig.put(registers.STATUS, NEGOTIATED | Status.FAILED)
    rig.put(registers.STATUS, LIVE | Status.FAILED)


@breaks("features-ok-read")
async def _(rig: RuleRig) -> None:
    rig.probe()
    await rig.driver.reset()
    await rig.driver.offered()
    rig.put(registers.STATUS, DRIVEN)
    rig.put(registers.DRIVER_FEATURES_SEL, 1)
    rig.put(registers.DRIVER_FEATURES, PLAIN >> 32)
    rig.put(registers.STATUS, NEGOTIATED)
    rig.put(registers.STATUS, LIVE)


@breaks("queue-before-features-ok")
async def _(rig: RuleRig) -> None:
    rig.put(registers.QUEUE_SIZE, 4)


@breaks("config-before-features-ok")
async def _(rig: RuleRig) -> None:
    rig.access(registers.MMIO_CONFIG, 4, 1)


@breaks("notify-before-driver-ok")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    rig.put(registers.QUEUE_NOTIFY, 0)


@breaks("write-during-reset")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    model = rig.device.model
    assert isinstance(model, Holder)
    model.stuck_reset = True
    rig.put(registers.STATUS, 0)
    rig.put(registers.STATUS, Status.ACKNOWLEDGE)
    model.stuck_reset = False


# -- Features -------------------------------------------------------------------------------------


@breaks("features-read")
async def _(rig: RuleRig) -> None:
    rig.probe()
    await rig.driver.reset()
    await rig.driver.negotiate(PLAIN)


@breaks("feature-not-offered")
async def _(rig: RuleRig) -> None:
    await rig.negotiate(PLAIN | Feature.VIRTIO_F_IN_ORDER)


@breaks("feature-dependency")
async def _(rig: RuleRig) -> None:
    await rig.negotiate(PLAIN | Feature.VIRTIO_F_EVENT_IDX)


@breaks("version-1")
async def _(rig: RuleRig) -> None:
    await rig.negotiate(0)


@breaks("features-late")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    rig.put(registers.DRIVER_FEATURES, 1)


@breaks("feature-word")
async def _(rig: RuleRig) -> None:
    await rig.driver.reset()
    rig.probe()
    rig.put(registers.STATUS, DRIVEN)
    rig.put(registers.DRIVER_FEATURES_SEL, 4)
    rig.put(registers.DRIVER_FEATURES, 1)


# -- Registers ------------------------------------------------------------------------------------


@breaks("undescribed-register")
def _(rig: RuleRig) -> None:
    rig.access(0xF00)


@breaks("legacy-register")
def _(rig: RuleRig) -> None:
    rig.access(registers.QUEUE_PFN.offset, 4, 1)


@breaks("read-only-register")
def _(rig: RuleRig) -> None:
    rig.access(registers.MAGIC_VALUE.offset, 4, 1)


@breaks("write-only-register")
def _(rig: RuleRig) -> None:
    rig.access(registers.QUEUE_NOTIFY.offset)


@breaks("control-width")
def _(rig: RuleRig) -> None:
    rig.access(registers.STATUS.offset, 1)


@breaks("config-width")
def _(rig: RuleRig) -> None:
    rig.access(registers.MMIO_CONFIG, 8)


@breaks("device-features-sel")
def _(rig: RuleRig) -> None:
    rig.get(registers.DEVICE_FEATURES)


@breaks("driver-features-sel")
async def _(rig: RuleRig) -> None:
    rig.probe()
    await rig.driver.reset()
    rig.put(registers.STATUS, DRIVEN)
    rig.put(registers.DRIVER_FEATURES, 0)


@breaks("queue-size-max")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    rig.put(registers.QUEUE_SIZE, 2 * SIZE)


@breaks("queue-size-power")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    rig.put(registers.QUEUE_SIZE, 3)


@breaks("queue-in-use")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    rig.put(registers.QUEUE_SIZE, 2)


@breaks("queue-stop-read")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    rig.put(registers.QUEUE_READY, 0)
    rig.put(registers.QUEUE_SIZE, 2)


@breaks("queue-reset-read")
async def _(rig: RuleRig) -> None:
    await rig.bring_up(RESET)
    rig.put(registers.QUEUE_RESET, 1)
    rig.put(registers.QUEUE_SIZE, 2)


@breaks("queue-reset-negotiated")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    rig.put(registers.QUEUE_RESET, 1)


@breaks("queue-size-first")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    rig.put(registers.QUEUE_READY, 1)


@breaks("queue-areas")
async def _(rig: RuleRig) -> None:
    await rig.place()
    rig.put(registers.QUEUE_DESC_LOW, 8)
    rig.put(registers.QUEUE_READY, 1)


@breaks("queue-exists")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    rig.put(registers.QUEUE_SEL, 7)
    rig.put(registers.QUEUE_SIZE, 2)


@breaks("queue-flag-value")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    rig.put(registers.QUEUE_READY, 2)


@breaks("notify-queue")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    rig.put(registers.QUEUE_NOTIFY, 9)


@breaks("interrupt-ack-bits")
def _(rig: RuleRig) -> None:
    rig.put(registers.INTERRUPT_ACK, 4)


@breaks("shared-memory")
def _(rig: RuleRig) -> None:
    rig.put(registers.SHM_SEL, 0)


RULES = [rule.name for rule in (*status.RULES, *features.RULES, *mmio.RULES)]


@pytest.mark.parametrize("rule", [name for name in RULES if name != "vendor-id"])
async def test_a_driver_that_breaks_a_rule_has_it_named_and_no_other(rule: str) -> None:
    """Whether the access was refused or not; a refusal names the same clause."""
    with rule_rig(Holder()) as rig:
        assert await breaks.run(rule, rig) == [rule]
        found = find_rule(rule)
        assert found is not None
        assert set(rig.clauses) <= {found.clause}


def test_a_vendor_that_a_quirk_changes_is_named() -> None:
    """The kernel that needs it is at fault."""
    with rule_rig(Holder(), quirks=(QEMU_VENDOR_ID,)) as rig:
        rig.get(registers.VENDOR_ID)
        assert rig.broken == ["vendor-id"]
