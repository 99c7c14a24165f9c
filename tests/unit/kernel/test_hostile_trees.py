"""Trees that are made to hurt: circles, missing ends, numbers without bounds, endless work."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh.kernel.tree import Binding, Fate, parse_blob
from virtmesh.kernel.tree.fdt import Node, cells, encode, strings
from virtmesh_common.errors import BadMachine

SECONDS = 20.0
"""Far more than any tree may take, on a loaded host too."""
AT = 0x1000
BOUND = [Binding(AT, "vda", "unix:/run/vda.sock")]


def board(*nodes: Node, **properties: bytes) -> bytes:
    """Make a tree of one cell for addresses, one for sizes."""
    counts = {"#address-cells": cells(1), "#size-cells": cells(1)}
    return encode(Node("", counts | named(properties), list(nodes)))


def named(properties: dict[str, bytes]) -> dict[str, bytes]:
    """Return properties whose names have dashes, and # for a leading _."""
    return {
        name.replace("_", "#", 1).replace("_", "-") if name[0] == "_" else name.replace("_", "-"): v
        for name, v in properties.items()
    }


def disk(**properties: bytes) -> Node:
    """Make a virtio-mmio node."""
    usual = {"compatible": strings("virtio,mmio"), "reg": cells(AT, 0x200)}
    return Node("disk", usual | named(properties))


def reason(blob: bytes) -> str:
    """Return why the disk, which is bound, is not driven."""
    found = parse_blob(blob, BOUND)
    assert found.devices == ()
    (node,) = (one for one in found.nodes if one.path.endswith("/disk"))
    assert node.fate is Fate.NOT_UNDERSTOOD
    return node.reason


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"interrupt_parent": cells(9), "interrupts": cells(1)}, "no node has that phandle"),
        ({"interrupts_extended": cells(9, 1)}, "interrupts-extended is <0x9>, and no node"),
        ({"interrupts_extended": b""}, "no node has that phandle"),
        ({"interrupts": b"123"}, "32-bit cells"),
        ({"interrupts": cells(1), "status": b"okay"}, "is no string"),
    ],
)
def test_references_that_lead_nowhere(properties: dict[str, bytes], why: str) -> None:
    """Are named."""
    assert why in reason(board(disk(**properties)))


def test_interrupt_maps_in_a_circle() -> None:
    """Two that lead to one another are followed for a while only."""
    one = Node("one", {
        "phandle": cells(1), "#interrupt-cells": cells(1), "#address-cells": cells(0),
        "interrupt-map": cells(5, 2, 5),
    })  # fmt: skip
    two = Node("two", {
        "phandle": cells(2), "#interrupt-cells": cells(1), "#address-cells": cells(0),
        "interrupt-map": cells(5, 1, 5),
    })  # fmt: skip
    blob = board(one, two, disk(interrupt_parent=cells(1), interrupts=cells(5)))
    assert "lead in a circle" in reason(blob)


@pytest.mark.parametrize("count", [0, 1 << 31])
def test_interrupts_of_impossible_width(count: int) -> None:
    """No cell, or more than any controller has."""
    controller = Node("intc", {
        "phandle": cells(1), "interrupt-controller": b"", "#interrupt-cells": cells(count),
    })  # fmt: skip
    blob = board(controller, disk(interrupt_parent=cells(1), interrupts=cells(5)))
    assert "cells" in reason(blob)


def test_a_bus_of_impossible_cells() -> None:
    """Its children have no address; the kernel goes on."""
    bus = Node("bus", {"#address-cells": cells(0xFFFF_FFFF), "ranges": b""}, [disk()])
    found = parse_blob(board(bus))
    assert [one.fate for one in found.nodes][-1] is Fate.NOT_UNDERSTOOD
    none = Node("bus", {"#address-cells": cells(0), "ranges": b""}, [disk()])
    assert "too short" in parse_blob(board(none)).nodes[-1].reason


def test_an_address_of_four_cells() -> None:
    """Is one number; beyond 64 bits no CPU reaches it."""
    wide = {"#address-cells": cells(4), "#size-cells": cells(2)}
    near = disk(reg=cells(0, 0, 0, AT, 0, 0x200), interrupts=cells(3))
    far = Node("far", {"compatible": strings("virtio,mmio"), "reg": cells(1, 0, 0, AT, 0, 0x200)})
    found = parse_blob(encode(Node("", wide, [near, far])), BOUND)
    assert [(one.name, one.address, one.irq) for one in found.devices] == [("vda", AT, 3)]
    assert "beyond 64 bits" in found.nodes[-1].reason


def test_ranges_that_take_hours_to_translate() -> None:
    """Thousands of nodes below a bus of a hundred thousand ranges: the work is bounded."""
    ranges = cells(*(0, 0, 1) * 100_000)
    children = [
        Node(f"n{number}", {"reg": cells(5, 5), "compatible": strings("virtio,mmio")})
        for number in range(5000)
    ]
    bus = Node(
        "bus", {"#address-cells": cells(1), "#size-cells": cells(1), "ranges": ranges}, children
    )
    begun = time.monotonic()
    found = parse_blob(board(bus))
    assert time.monotonic() - begun < SECONDS
    assert "too many ranges" in found.nodes[-1].reason


def test_long_names_and_paths_are_cut() -> None:
    """What is listed of a node is bounded; a name without an end is refused."""
    root = disk()
    for _ in range(40):
        root = Node("n" * 255, {}, [root])
    found = parse_blob(board(root))
    assert max(len(one.path) for one in found.nodes) == 200
    with pytest.raises(BadMachine, match="no end in 255 bytes"):
        parse_blob(board(Node("n" * 256)))


def test_the_name_of_the_machine_moves_no_cursor() -> None:
    """It is shown by every terminal, so what is not printable in it is replaced, and it is cut."""
    model = strings("\x1b[31mEvil\x1b]0;title\x07\r\n\x9b" + "x" * 300)
    name = parse_blob(board(disk(), model=model)).name
    assert name.startswith("?[31mEvil?]0;title????x")
    assert len(name) == 200


def test_a_model_that_is_no_text_does_not_end_the_kernel() -> None:
    """The machine has the usual name then."""
    assert parse_blob(board(disk(), model=b"Caf\xe9\0")).name == "virtmesh"
    assert parse_blob(board(disk(), model=b"no end")).name == "virtmesh"


def test_more_nodes_than_any_board_has() -> None:
    """They are refused."""
    with pytest.raises(BadMachine, match="more than 20000 nodes"):
        parse_blob(board(*[Node("n")] * 20_000))


def test_more_devices_than_are_driven() -> None:
    """The others are listed."""
    nodes = [
        Node(f"d{number}", {
            "compatible": strings("virtio,mmio"), "reg": cells(number * 0x1000, 0x200),
            "interrupts": cells(number), "virtmesh,name": strings(f"d{number}"),
            "virtmesh,endpoint": strings("unix:/run/d.sock"),
        })
        for number in range(1, 300)
    ]  # fmt: skip
    found = parse_blob(board(*nodes))
    assert len(found.devices) == 256
    assert found.nodes[-1].fate is Fate.NOT_UNDERSTOOD


@given(st.lists(st.tuples(st.sampled_from([
    "reg", "ranges", "interrupts", "interrupts-extended", "interrupt-map", "interrupt-parent",
    "#address-cells", "#size-cells", "#interrupt-cells", "status", "compatible", "clocks",
    "device_type", "phandle", "interrupt-map-mask", "interrupt-controller", "model", "stdout-path",
]), st.binary(max_size=24)), max_size=12), st.integers(0, 3))  # fmt: skip
def test_any_property_of_any_value(properties: list[tuple[str, bytes]], depth: int) -> None:
    """Gives a list of nodes, or BadMachine."""
    node = disk()
    node.properties |= dict(properties)
    for name in ("soc", "chosen", "aliases")[:depth]:
        node = Node(name, dict(properties[depth:]), [node])
    with suppress(BadMachine):
        assert parse_blob(encode(Node("", dict(properties[:2]), [node]))).nodes
