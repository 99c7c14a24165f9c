"""Where the 64 slots of the board are."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from virtmesh.kinds.record import Place
from virtmesh.machine import parse
from virtmesh.machine.board import BOARD_DEVICES, PLIC_SOURCES, VIRTIO, platform_of
from virtmesh_common.memory_map import RAM_ADDRESS

QEMU_ELSE = (
    *(("RTC", Place(0x10_1000, 0x1000, 11)), ("fw_cfg", Place(0x1010_0000, 0x18, 0))),
    ("flash", Place(0x2000_0000, 0x400_0000, 0)),
    ("platform bus", Place(0x400_0000, 1 << 25, 0)),
    *((f"PCI {irq}", Place(0x3000_0000, 0x1000_0000, irq)) for irq in range(32, 36)),
)
"""What QEMU's `virt` board has and this one has not."""


def test_the_first_eight_slots_are_those_of_qemu() -> None:
    """Kernels that were grown there know them by heart."""
    assert VIRTIO.places[:8] == tuple(
        Place(0x1000_1000 + slot * 0x1000, 0x1000, 1 + slot) for slot in range(8)
    )


def test_the_slots_behind_them_go_on_at_the_next_page() -> None:
    """Slot 8 and the last one."""
    assert VIRTIO.places[8] == Place(0x1000_9000, 0x1000, 36)
    assert VIRTIO.places[63] == Place(0x1004_0000, 0x1000, 91)


def test_no_two_places_share_an_address_or_an_interrupt() -> None:
    """Neither with one another nor with what else the board has, or QEMU's would have."""
    ports = platform_of("uart").places
    irqs = [place.irq for place in (*VIRTIO.places, *ports)]
    others = [Place(address, size, 0) for _, address, size in BOARD_DEVICES]
    others += [Place(RAM_ADDRESS, 1 << 36, 0), *(place for _, place in QEMU_ELSE)]
    taken = {place.irq for place in others}

    assert len(set(irqs)) == len(irqs)
    assert max(irqs) <= PLIC_SOURCES
    assert not taken.intersection(irqs)
    pairs = combinations((*VIRTIO.places, *ports), 2)
    assert not [pair for pair in pairs if pair[0].overlaps(pair[1])]
    assert not [one for one in VIRTIO.places for other in others if one.overlaps(other)]


def test_a_machine_of_68_devices_has_them_in_order() -> None:
    """64 on slots, and four serial ports."""
    devices = [{"name": f"k{number}", "kind": "input"} for number in range(64)]
    devices += [{"name": f"s{number}", "kind": "uart"} for number in range(4)]

    machine = parse({"devices": devices}, source="m", base=Path("/machines"))

    assert [one.place for one in machine.devices[:64]] == list(VIRTIO.places)
    assert [one.irq for one in machine.devices[64:]] == [10, 12, 13, 14]
