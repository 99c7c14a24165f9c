"""Each rule about disks, input devices and serial ports: a driver that breaks it alone."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.chip_rig import ChipRig
from tests.support.rule_rig import NEXT, PLAIN, WRITE, Breaks, RuleRig, broken, rule_rig
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.input.model import InputModel, InputOptions
from virtmesh.input.personality import load
from virtmesh.mmio.device import Attachment
from virtmesh.report.rules import blk, uart, virtio_input
from virtmesh_common.blk import spec
from virtmesh_common.blk.spec import BlkFeature
from virtmesh_common.errors import RegisterError
from virtmesh_common.input import spec as layout
from virtmesh_common.uart.spec import Lcr

SECTORS = 64
FEATURES = (
    PLAIN
    | BlkFeature.VIRTIO_BLK_F_SEG_MAX
    | BlkFeature.VIRTIO_BLK_F_SIZE_MAX
    | BlkFeature.VIRTIO_BLK_F_FLUSH
    | BlkFeature.VIRTIO_BLK_F_DISCARD
    | BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES
)
IN, OUT, FLUSH, GET_ID, DISCARD, ZEROES = 0, 1, 4, 8, 11, 13
on_blk, on_input = Breaks(), Breaks()


def disk(folder: Path) -> BlkModel:
    """Make a small disk that offers no geometry, and little in one request."""
    image = folder / "disk.img"
    image.touch()
    os.truncate(image, 512 * SECTORS)
    without = int(BlkFeature.VIRTIO_BLK_F_GEOMETRY)
    return BlkModel("vda", BlkOptions(image, seg_max=2, size_max=4096, without=without))


def header(kind: int, sector: int = 0) -> bytes:
    """Return the header of a request (5.2.6)."""
    return struct.pack("<IIQ", kind, 0, sector)


def ranges(*each: tuple[int, int, int]) -> bytes:
    """Return the segments of a discard: sector, sectors, flags."""
    return b"".join(struct.pack("<QII", *one) for one in each)


async def ask(
    rig: RuleRig, out: bytes, *lengths: int, sent: tuple[int, ...] = (), features: int = FEATURES
) -> None:
    """Send a request: bytes to read, more readable buffers, and writable buffers."""
    size = 64
    await rig.bring_up(features, size=size)
    parts = [(rig.buffer(out), len(out), 0)] if out else []
    parts += [(rig.buffer(bytes(length)), length, 0) for length in sent]
    parts += [(rig.buffer(bytes(length)), length, WRITE) for length in lengths]
    for index, (address, length, flags) in enumerate(parts):
        more = NEXT if index + 1 < len(parts) else 0
        rig.descriptor(index, address, length, flags | more, index + 1)
    rig.offer(0, size=size)
    await rig.settle()


REQUESTS: dict[str, Callable[[RuleRig], object]] = {
    "blk-status-missing": lambda rig: ask(rig, header(IN)),
    "blk-header-missing": lambda rig: ask(rig, b"short", 1),
    "blk-direction": lambda rig: ask(rig, header(IN) + bytes(512), 1),
    "blk-segments": lambda rig: ask(rig, header(IN), 512, 512, 512, 1),
    "blk-segment-size": lambda rig: ask(rig, header(IN), 8192, 1),
    "blk-data-length": lambda rig: ask(rig, header(IN), 100, 1),
    "blk-capacity": lambda rig: ask(rig, header(IN, SECTORS), 512, 1),
    "blk-flush-sector": lambda rig: ask(rig, header(FLUSH, 1), 1),
    "blk-id-length": lambda rig: ask(rig, header(GET_ID), 19, 1),
    "blk-ranges-length": lambda rig: ask(rig, header(DISCARD) + bytes(20), 1),
    "blk-discard-segments": lambda rig: ask(rig, header(DISCARD) + 33 * ranges((0, 1, 0)), 1),
    "blk-write-zeroes-segments": lambda rig: ask(rig, header(ZEROES) + 33 * ranges((0, 1, 0)), 1),
    "blk-range-sectors": lambda rig: ask(rig, header(DISCARD) + ranges((0, 1 << 23, 0)), 1),
    "blk-discard-unmap": lambda rig: ask(rig, header(DISCARD) + ranges((0, 1, 1)), 1),
    "blk-range-flags": lambda rig: ask(rig, header(ZEROES) + ranges((0, 1, 2)), 1),
}
on_blk.update(REQUESTS)


@on_blk("blk-optional-field")
def _(rig: RuleRig) -> None:
    rig.get(spec.CYLINDERS)


@on_blk("blk-writeback-early")
def _(rig: RuleRig) -> None:
    rig.get(spec.WRITEBACK)


@on_blk("blk-writeback-negotiated")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    rig.put(spec.WRITEBACK, 1)


@on_blk("blk-writeback-value")
async def _(rig: RuleRig) -> None:
    await rig.negotiate(PLAIN | BlkFeature.VIRTIO_BLK_F_CONFIG_WCE)
    rig.put(spec.WRITEBACK, 2)


@pytest.mark.parametrize("rule", [rule.name for rule in blk.RULES])
async def test_a_driver_of_a_disk_has_the_rule_named_and_no_other(
    rule: str, tmp_path: Path
) -> None:
    """Requests are judged where native code parses them."""
    model = disk(tmp_path)
    with rule_rig(model) as rig:
        assert await on_blk.run(rule, rig) == [rule]
        rig.device.begin_reset()
        assert await rig.device.reset_done(20)
    model.close()


@on_input("input-select")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    rig.put(layout.SELECT, 1)
    rig.get(layout.SIZE)


@on_input("input-config-write")
async def _(rig: RuleRig) -> None:
    await rig.negotiate()
    rig.access(layout.SIZE.offset, 1, 1)


@on_input("input-event-buffer")
async def _(rig: RuleRig) -> None:
    await rig.bring_up(queue=layout.EVENTQ)
    rig.descriptor(0, rig.buffer(), 7, WRITE)
    rig.offer(0, queue=layout.EVENTQ)


@on_input("input-status-buffer")
async def _(rig: RuleRig) -> None:
    await rig.bring_up(queue=layout.STATUSQ)
    rig.descriptor(0, rig.buffer(), 7)
    rig.offer(0, queue=layout.STATUSQ)


@pytest.mark.parametrize("rule", [rule.name for rule in virtio_input.RULES])
async def test_a_driver_of_an_input_device_has_the_rule_named_and_no_other(rule: str) -> None:
    """Chains are judged where the model takes them."""
    with rule_rig(InputModel("keyboard", InputOptions("keyboard"), load("keyboard"))) as rig:
        assert await on_input.run(rule, rig) == [rule]


def set_up(rig: ChipRig) -> None:
    """Set the format and the baud rate."""
    rig.set_up()
    rig.set_divisor(1)


def send(rig: ChipRig, count: int = 1) -> None:
    """Send characters without looking."""
    for _ in range(count):
        rig.set(rig.registers.thr, ord("x"))


def no_divisor(rig: ChipRig) -> None:
    """Send with the format set alone."""
    rig.set_up()
    send(rig)


def fill(rig: ChipRig) -> None:
    """Send more than the FIFO holds, at a baud rate."""
    set_up(rig)
    send(rig, 18)


def refused(offset: int, value: int, rig: ChipRig) -> None:
    """Make a write that is refused."""
    with pytest.raises(RegisterError):
        rig.device.write(offset, 1, value)


ON_UART: dict[str, Callable[[ChipRig], object]] = {
    "uart-divisor": no_divisor,
    "uart-lsr-write": partial(refused, 5, 0),
    "uart-msr-write": partial(refused, 6, 0),
    "uart-transmitter-full": fill,
    "uart-fcr-enable": lambda rig: rig.set(rig.registers.fcr, 2),
    "uart-reserved-fcr": lambda rig: rig.set(rig.registers.fcr, 0x11),
    "uart-reserved-ier": lambda rig: rig.set(rig.registers.ier, 0x10),
    "uart-reserved-mcr": lambda rig: rig.set(rig.registers.mcr, 0x20),
    "uart-register": partial(refused, 8, 0),
}


def chip_rig(rule: str) -> ChipRig:
    """Make a port with a driver; one that takes time where the rule is about that."""
    rig = ChipRig(pace=rule == "uart-transmitter-full")
    rig.device.attach(Attachment("test", None))  # type: ignore[arg-type]  # the chip needs none
    return rig


@pytest.mark.parametrize("rule", [rule.name for rule in uart.RULES if rule.name != "uart-format"])
def test_a_driver_of_a_serial_port_has_the_rule_named_and_no_other(rule: str) -> None:
    """Whether the access was refused or not."""
    rig = chip_rig(rule)
    ON_UART[rule](rig)
    assert broken(rig.device) == [rule]


def test_a_driver_that_sets_neither_format_nor_divisor_breaks_two_rules() -> None:
    """The divisor can't be written without LCR, so that the rule about it is never alone."""
    rig = chip_rig("uart-format")
    send(rig, 3)
    assert broken(rig.device) == ["uart-format", "uart-divisor"]


def test_a_serial_port_that_is_set_up_breaks_no_rule() -> None:
    """And the next driver has to set it up for itself."""
    rig = chip_rig("")
    set_up(rig)
    send(rig, 3)
    assert (broken(rig.device), rig.get(rig.registers.lcr) & Lcr.DLAB) == ([], 0)
