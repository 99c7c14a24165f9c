"""Events in words: registers, bits, queues, interrupts, and what hides in texts."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.trace_events import DEVICE, DRIVER, Tape, block_write
from virtmesh_client.trace.decode import FLIGHTS_MAX, Decoder
from virtmesh_client.trace.events import Event
from virtmesh_common.blk.spec import CAPACITY
from virtmesh_common.uart.spec import Lcr
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.status import Status


def spell(*events: Event) -> list[str]:
    """Spell events in order, each with who acts."""
    decoder = Decoder()
    spelled = [decoder.spell(event) for event in events]
    return [f"{one.actor} {one.text}" for one in spelled]


def test_one_block_write_is_told_step_by_step() -> None:
    """With the time since the chain was added, on every step of the chain."""
    decoder = Decoder()
    spelled = [decoder.spell(one) for one in block_write(7, 5000, Tape(DRIVER), Tape(DEVICE))]
    assert [(one.actor, one.text, one.since_add_ns) for one in spelled] == [
        ("drv", "q0 add #7 (3 descriptors, 4113 bytes)", None),
        ("drv", "q0 notify", None),
        ("dev", "q0 notify by eventfd", None),
        ("dev", "q0 pop #7 (3 descriptors, 4113 bytes)", 3000),
        ("dev", "q0 request #7 OUT sector 128, 4096 bytes", 4000),
        ("dev", "q0 request #7 OUT -> OK", 5000),
        ("dev", "q0 push #7 (1 byte written)", 6000),
        ("dev", "q0 interrupt (used buffer)", None),
        ("drv", "irq (used buffer)", None),
        ("drv", "q0 pop_used #7 (1 byte written)", 9000),
    ]


def test_registers_and_their_bits_have_names() -> None:
    """Writes point at the device, reads at the driver."""
    tape = Tape(DEVICE)
    live = Status.ACKNOWLEDGE | Status.DRIVER
    assert spell(
        tape.read(mmio.MAGIC_VALUE.offset, 0x74726976),
        tape.read(mmio.DEVICE_ID.offset, 2),
        tape.write(mmio.STATUS.offset, 0),
        tape.write(mmio.STATUS.offset, live),
        tape("status", value=live, extra=1),
        tape.read(CAPACITY.offset + 4, 0x7F),
        tape.write(mmio.INTERRUPT_ACK.offset, 3),
        tape.read(0xFF0, 0),
    ) == [
        'drv <- MagicValue = 0x74726976 "virt"',
        "drv <- DeviceID = 2 (block device)",
        "drv -> Status = 0 (reset)",
        "drv -> Status = ACKNOWLEDGE|DRIVER",
        "dev status +DRIVER",
        "drv <- capacity+4 = 0x7f",
        "drv -> InterruptACK = 3 (used buffer, configuration change)",
        "drv <- config[0xef0] = 0",
    ]


def test_selectors_decide_which_features_and_queues_are_meant() -> None:
    """As they were written before; 0 after a reset; not known at the beginning of a trace."""
    tape = Tape(DEVICE)
    assert spell(
        tape.read(mmio.DEVICE_FEATURES.offset, 1),
        tape("reset"),
        tape.read(mmio.DEVICE_FEATURES.offset, 1 << 9),
        tape.write(mmio.DEVICE_FEATURES_SEL.offset, 1),
        tape.read(mmio.DEVICE_FEATURES.offset, 1),
        tape.write(mmio.QUEUE_SEL.offset, 5),
        tape.write(mmio.QUEUE_SIZE.offset, 128),
        tape("lost", value=3),
        tape.write(mmio.QUEUE_SIZE.offset, 128),
    ) == [
        "drv <- DeviceFeatures[?] = 0x1",
        "dev reset complete",
        "drv <- DeviceFeatures[0] = 0x200 VIRTIO_BLK_F_FLUSH",
        "drv -> DeviceFeaturesSel = 1",
        "drv <- DeviceFeatures[1] = 0x1 VIRTIO_F_VERSION_1",
        "drv -> QueueSel = 5",
        "drv -> QueueSize[5] = 128",
        "dev -- 3 events lost --",
        "drv -> QueueSize[?] = 128",
    ]


def test_a_selector_beyond_the_specification_is_no_trouble() -> None:
    """A driver may write any 32 bits: no feature has a number up there."""
    tape = Tape(DEVICE)
    assert (
        spell(
            tape.write(mmio.DEVICE_FEATURES_SEL.offset, 0xFFFF_FFFF),
            tape.read(mmio.DEVICE_FEATURES.offset, 0),
        )[1]
        == "drv <- DeviceFeatures[4294967295] = 0"
    )


def test_a_refusal_says_why_and_selects_nothing() -> None:
    """By its text, or by its reason where the text is not kept any more."""
    tape = Tape(DEVICE)
    assert spell(
        tape("reset"),
        tape("write_refused", detail=4, token=mmio.QUEUE_SEL.offset, value=9, text="no queue 9"),
        tape("write_refused", detail=4, token=mmio.MAGIC_VALUE.offset, value=9, extra=5),
        tape("read_refused", token=mmio.QUEUE_NOTIFY.offset, detail=4, extra=4),
        tape.write(mmio.QUEUE_SIZE.offset, 8),
    )[1:] == [
        "drv -> QueueSel = 0x9 refused: no queue 9",
        "drv -> MagicValue = 0x9 refused: not writable",
        "drv <- QueueNotify refused: not readable",
        "drv -> QueueSize[0] = 8",
    ]


def test_a_guard_says_what_it_expected() -> None:
    """And whether the batch went on."""
    tape = Tape(DEVICE)

    def guard(value: int) -> Event:
        offset = mmio.STATUS.offset
        return tape("register_read", detail=0x44, token=offset, value=value, extra=4 << 32 | 4)

    assert spell(guard(4), guard(0)) == [
        "drv <- Status = DRIVER_OK (guard 0x4: 0x4)",
        "drv <- Status = 0 (guard 0x4: 0x4, not met)",
    ]


def test_registers_of_a_serial_port_share_places() -> None:
    """By direction, and by DLAB once that was written."""
    tape = Tape(dataclasses.replace(DEVICE, kind="uart", compatible="ns16550a", virtio_device_id=0))
    assert spell(
        tape.read(0, ord("a"), 1),
        tape.write(3, Lcr.DLAB, 1),
        tape.write(0, 1, 1),
        tape.write(3, 0x03, 1),
        tape.write(0, ord("\n"), 1),
        tape.write(0, 1 << 40, 1),
        tape.read(5, 0x60, 1),
        tape.read(2, 0xC2, 1),
        tape("level", detail=1, value=2),
    ) == [
        "drv <- DLL/RBR = 0x61",
        "drv -> LCR = 0x80 DLAB",
        "drv -> DLL = 1",
        "drv -> LCR = 0x3 WLS0|WLS1",
        "drv -> THR = 0x0a '\\n'",
        "drv -> THR = 0x10000000000",
        "drv <- LSR = 0x60 THRE|TEMT",
        "drv <- IIR = 0xc2 THR_EMPTY",
        "dev interrupt line rose (sources 0x2)",
    ]


def test_registers_of_a_serial_port_lie_apart_as_its_source_says() -> None:
    """By reg-shift; one that no port has is taken for 0."""
    port = dataclasses.replace(DEVICE, kind="uart", compatible="ns16550a", virtio_device_id=0)
    apart, absurd = (Tape(dataclasses.replace(port, reg_shift=shift)) for shift in (2, 1 << 62))

    assert spell(apart.read(5 << 2, 0x60, 4), apart.read(5, 0x60, 4)) == [
        "drv <- LSR = 0x60 THRE|TEMT",
        "drv <- [0x005] = 0x60",
    ]
    assert spell(absurd.read(5, 0x60, 1)) == ["drv <- LSR = 0x60 THRE|TEMT"]


@pytest.mark.parametrize(
    ("kind", "text"), [("attach", "attach"), ("fault", "FAULT"), ("gone", "-- recorder gone")]
)
def test_texts_of_others_do_not_reach_the_terminal_as_they_are(kind: str, text: str) -> None:
    """A driver chooses its name, and could move the cursor with it."""
    tape = Tape(DEVICE)
    assert spell(tape(kind, text="a\x1b[2J\nb")) == [f"dev {text}: a\\x1b[2J\\nb"]


def test_a_kind_that_is_not_known_is_shown_with_its_numbers() -> None:
    """A newer service may have more of them."""
    tape = Tape(DEVICE)
    assert spell(tape("kind_77", detail=1, queue=2, token=3, value=4)) == ["dev kind_77 1 2 3 0x4"]


def test_a_chain_that_was_lost_has_no_age() -> None:
    """Its number may be that of another chain by now."""
    driver, device = Tape(DRIVER), Tape(DEVICE)
    decoder = Decoder()
    decoder.spell(driver("add", token=1))
    decoder.spell(driver("lost", value=9))
    assert decoder.spell(device("push", token=1)).since_add_ns is None


def test_what_is_kept_of_chains_is_bounded() -> None:
    """The oldest are forgotten."""
    driver = Tape(DRIVER)
    decoder = Decoder()
    for token in range(FLIGHTS_MAX + 1):
        decoder.spell(driver("add", token=token))
    assert decoder.spell(driver("pop_used", token=0)).since_add_ns is None
    assert decoder.spell(driver("pop_used", token=1)).since_add_ns is not None
