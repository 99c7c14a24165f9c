"""The slots that a guest finds on the board of a CPU."""

from __future__ import annotations

import os
from pathlib import Path

from virtmesh_native import Board

from tests.support.board_rig import RAM, RAM_SIZE
from tests.support.native_rig import make_memfd
from virtmesh.cpu.slots import add_slots, empty_places
from virtmesh.kernel.tree import make_blob, parse_blob
from virtmesh.machine import parse
from virtmesh.machine.board import VIRTIO


def make_board() -> Board:
    """Make a board without slots."""
    descriptor = make_memfd(RAM_SIZE)
    try:
        return Board(descriptor, RAM, RAM_SIZE)
    finally:
        os.close(descriptor)


def test_a_full_board_takes_every_device_and_keeps_the_slots_of_qemu() -> None:
    """64 virtio devices that are elsewhere, four serial ports, and eight slots left empty."""
    devices: list[dict[str, object]] = [
        {"name": f"k{number}", "kind": "input", "address": 0x2000_0000 + 0x1000 * number}
        for number in range(64)
    ]
    devices += [{"name": f"s{number}", "kind": "uart"} for number in range(4)]
    machine = parse({"devices": devices}, source="m", base=Path("/machines"))
    found = parse_blob(make_blob(machine.resolve(Path("/run")))).devices

    slots = add_slots(make_board(), found, {})

    assert len(slots) == 76
    assert {place.address for place in VIRTIO.places[:8]} < set(slots)


def test_slots_that_qemu_has_not_are_there_only_with_a_device() -> None:
    """Nothing tells a kernel of them."""
    assert list(empty_places([])) == list(VIRTIO.places[:8])
    assert list(empty_places(VIRTIO.places[4:12])) == list(VIRTIO.places[:4])
