"""Machine files that name a device tree of their own: devices are bound to nodes by address."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtmesh.machine import parse
from virtmesh_common.errors import BadMachine

BASE = Path("/machines")


def device(name: str, **entries: object) -> dict[str, object]:
    """Make a table of a keyboard."""
    return {"name": name, "kind": "input", "options": {"personality": "keyboard"}} | entries


def test_devices_are_bound_by_address() -> None:
    """More of them than the board has slots; the tree is relative to the file."""
    devices = [device(f"k{number}", address=0x1000 * number) for number in range(12)]

    machine = parse({"device-tree": "a.dtb", "devices": devices}, source="m", base=BASE)

    assert machine.device_tree == "/machines/a.dtb"
    assert [one.address for one in machine.devices] == [0x1000 * number for number in range(12)]


@pytest.mark.parametrize(
    ("tree", "devices", "why"),
    [
        ({"device-tree": "a.dtb"}, [device("k")], "address must say where its node is"),
        ({"device-tree": "a.dtb"}, [device("k", address=-1)], "address must say where"),
        ({"device-tree": "a.dtb"}, [device("k", address=1, slot=1)], "slot is for the board's own"),
        (
            {"device-tree": "a.dtb"},
            [device("k", address=1), device("l", address=1)],
            "two devices of the address 0x1",
        ),
        ({}, [device("k", address=1)], "address must be a multiple of 0x1000"),
    ],
)
def test_places_that_make_no_sense(
    tree: dict[str, object], devices: list[dict[str, object]], why: str
) -> None:
    """The error says what to write."""
    with pytest.raises(BadMachine, match=why):
        parse(tree | {"devices": devices}, source="m", base=BASE)
