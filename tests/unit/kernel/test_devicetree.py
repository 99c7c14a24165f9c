"""Device trees: made from a machine, found again, and never trusted."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh.kernel.tree import Fate, FoundMachine, ListedNode, make_blob, parse_blob
from virtmesh.kernel.tree.fdt import Node, cells, cells64, decode, encode, strings
from virtmesh.machine import DeviceEntry, Machine
from virtmesh_common.errors import BadMachine

DATA = Path(__file__).parent / "data"
MACHINE = Machine(
    name="demo",
    memory=32 << 20,
    devices=(
        DeviceEntry(name="vdb", kind="blk", endpoint="unix:/run/vdb.sock", slot=2),
        DeviceEntry(
            name="vda", kind="blk", endpoint="10.0.0.1:5000", slot=0, handover="/run/vda.handover"
        ),
    ),
)
BLOB = make_blob(MACHINE)

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789,._+-", min_size=1, max_size=20)
nodes = st.recursive(
    st.builds(Node, names, st.dictionaries(names, st.binary(max_size=64), max_size=4)),
    lambda children: st.builds(
        Node,
        names,
        st.dictionaries(names, st.binary(max_size=64), max_size=4),
        st.lists(children, max_size=3),
    ),
    max_leaves=10,
)


def soc(*devices: Node) -> bytes:
    """Make the blob of a machine with memory and these device nodes."""
    memory = Node("memory", {"device_type": strings("memory"), "reg": cells64(1 << 31, 1 << 24)})
    counts = {"#address-cells": cells(2), "#size-cells": cells(2)}
    bus = Node("soc", counts | {"ranges": b""}, list(devices))
    return encode(Node("", dict(counts), [memory, bus]))


def device(**changes: bytes) -> Node:
    """Make a device node that is right but for the changes."""
    return Node(
        "virtio_mmio@10001000",
        {
            "compatible": strings("virtio,mmio"),
            "reg": cells64(0x1000_1000, 0x1000),
            "interrupts": cells(1),
            "virtmesh,name": strings("vda"),
            "virtmesh,endpoint": strings("unix:/run/vda.sock"),
        }
        | {name.replace("_", ","): value for name, value in changes.items()},
    )


def fates(found: FoundMachine) -> dict[str, ListedNode]:
    """Return what became of each node, by its path."""
    return {one.path: one for one in found.nodes}


def test_what_a_machine_says_is_found_again() -> None:
    """A kernel that is given the blob finds RAM and devices, ascending by address."""
    found = parse_blob(BLOB)

    assert (found.name, found.ram_size) == ("demo", 32 << 20)
    vda, vdb = found.devices
    assert (vda.name, vda.address, vda.size, vda.irq) == ("vda", 0x1000_1000, 0x1000, 1)
    assert (vda.endpoint, vda.handover) == ("10.0.0.1:5000", "/run/vda.handover")
    assert (vdb.name, vdb.address, vdb.irq) == ("vdb", 0x1000_3000, 3)
    assert vdb.compatible == ("virtio,mmio",)
    assert vdb.handover is None


PORTS = tuple(
    DeviceEntry(
        name=name, kind="uart", endpoint=f"unix:/run/{name}.sock", slot=port, options=options
    )
    for port, (name, options) in enumerate({"serial": {"reg-shift": 2}, "modem": {}}.items())
)


def test_a_serial_port_is_told_what_it_needs() -> None:
    """Its node is that of the board, and has the properties that an NS16550A has."""
    machine = replace(MACHINE, devices=(*MACHINE.devices, *PORTS))

    serial, modem, *_ = parse_blob(make_blob(machine)).devices

    assert (serial.name, serial.address, serial.size, serial.irq) == (
        *("serial", 0x1000_0000, 0x100, 10),
    )
    assert serial.compatible == ("ns16550a",)
    assert serial.properties["clock-frequency"] == 3_686_400
    assert (serial.properties["reg-shift"], serial.properties["reg-io-width"]) == (2, 1)
    assert (modem.address, modem.irq, modem.properties["reg-shift"]) == (0x1000_0100, 12, 0)


def test_a_device_for_guests_is_reserved() -> None:
    """Its node says so; those of the others do not."""
    vdb, vda = MACHINE.devices
    machine = replace(MACHINE, devices=(replace(vdb, vhost_user="/run/vdb.vhost-user"), vda))

    reserved = {one.name: one.reserved for one in parse_blob(make_blob(machine)).devices}

    assert reserved == {"vda": False, "vdb": True}


def test_the_console_is_the_first_serial_port() -> None:
    """/chosen says so; without a serial port there is no console."""
    with_ports = parse_blob(make_blob(replace(MACHINE, devices=PORTS)))

    assert with_ports.console == "serial"
    assert parse_blob(BLOB).console == ""


@pytest.mark.parametrize(
    ("chosen", "console"),
    [
        ({"stdout-path": strings("/soc/serial@10000100:115200n8")}, "modem"),
        ({"stdout-path": strings("serial1")}, "modem"),
        ({"stdout-path": strings("/soc/nowhere")}, "serial"),
        ({}, "serial"),
    ],
)
def test_the_console_is_where_stdout_path_says(chosen: dict[str, bytes], console: str) -> None:
    """A path or an alias, with or without options; the first port when that is not one of ours."""
    root = decode(make_blob(replace(MACHINE, devices=PORTS)))
    root.children[0] = Node("chosen", chosen)
    root.children.append(Node("aliases", {"serial1": strings("/soc/serial@10000100")}))

    assert parse_blob(encode(root)).console == console


def test_a_blob_of_another_writer_is_understood() -> None:
    """What dtc compiled is read here: other cell counts, several compatibles, a reservation."""
    found = parse_blob((DATA / "machine.dtb").read_bytes())

    assert (found.name, found.ram_size) == ("by-dtc", 1 << 24)
    vda, vdb = found.devices
    assert (vda.name, vda.address, vda.irq) == ("vda", 0x1000_1000, 1)
    assert vda.compatible == ("vendor,disk", "virtio,mmio")
    assert (vdb.endpoint, vdb.handover) == ("127.0.0.1:5001", "/run/vdb.handover")


@pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc is not installed")
def test_dtc_has_nothing_to_say(tmp_path: Path) -> None:
    """The device tree compiler takes the blob without a warning."""
    path = tmp_path / "machine.dtb"
    path.write_bytes(make_blob(replace(MACHINE, devices=(*MACHINE.devices, *PORTS))))

    done = subprocess.run(
        ["dtc", "-I", "dtb", "-O", "dts", str(path)], capture_output=True, text=True, check=True
    )

    assert done.stderr == ""
    assert 'virtmesh,name = "vda"' in done.stdout


@given(nodes)
def test_trees_survive_the_journey(root: Node) -> None:
    """What is encoded is decoded to the same tree."""
    assert decode(encode(root)) == root


@given(st.integers(0, len(BLOB) - 1))
def test_cut_blobs_are_refused(length: int) -> None:
    """No part of a blob passes for the whole."""
    with pytest.raises(BadMachine):
        decode(BLOB[:length])


@given(st.integers(0, len(BLOB) - 1), st.integers(1, 255))
def test_damaged_blobs_raise_nothing_else(position: int, change: int) -> None:
    """Whatever byte is wrong, it is a tree all the same or BadMachine."""
    damaged = bytearray(BLOB)
    damaged[position] ^= change

    with suppress(BadMachine):
        parse_blob(bytes(damaged))


@given(st.binary(max_size=200))
def test_garbage_is_refused(blob: bytes) -> None:
    """Bytes that are no blob are refused."""
    with pytest.raises(BadMachine):
        decode(blob)


def test_deep_nesting_is_refused() -> None:
    """A blob can't exhaust the stack."""
    root = Node("")
    for _ in range(64):
        root = Node("n", {}, [root])

    with pytest.raises(BadMachine, match="nested deeper than 64"):
        decode(encode(root))


def test_foreign_nodes_are_passed_over() -> None:
    """A virtio-mmio node that names no service is not one of ours."""
    foreign = Node(
        "virtio_mmio@10002000",
        {"compatible": strings("virtio,mmio"), "reg": cells64(0x1000_2000, 0x1000)},
    )

    assert [one.name for one in parse_blob(soc(device(), foreign)).devices] == ["vda"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"reg": b""}, "too short"),
        ({"reg": b"123"}, "32-bit cells"),
        ({"reg": cells64(0x1000_1000, 0)}, "has no size"),
        ({"reg": cells64((1 << 64) - 1, 2)}, "beyond 64 bits"),
        ({"interrupts": b""}, "it has no interrupt"),
        ({"virtmesh_name": strings("../vda")}, "write one such as vda"),
        ({"virtmesh_name": b"vda"}, "is no string"),
        ({"virtmesh_name": b"\xff\0"}, "is no text"),
        ({"virtmesh_endpoint": strings("nowhere")}, "virtmesh,endpoint"),
        ({"virtmesh_endpoint": strings("a:1", "b:1")}, "must be one string"),
    ],
)
def test_broken_device_nodes_are_listed(changes: dict[str, bytes], why: str) -> None:
    """With what is wrong; the others are driven."""
    other = device(
        virtmesh_name=strings("vdb"), interrupts=cells(7), reg=cells64(0x2000_0000, 0x1000)
    )
    other.name = "other"

    found = parse_blob(soc(device(**changes), other))

    assert [one.name for one in found.devices] == ["vdb"]
    broken = fates(found)["/soc/virtio_mmio@10001000"]
    assert broken.fate is Fate.NOT_UNDERSTOOD
    assert re.search(why, broken.reason)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"virtmesh_name": strings("vdb"), "reg": cells64(0x2000_0000, 0x1000)},
            "vda has interrupt 1 too: lines are not shared",
        ),
        (
            {"interrupts": cells(2), "reg": cells64(0x2000_0000, 0x1000)},
            "another device has the name vda",
        ),
        (
            {"interrupts": cells(2), "virtmesh_name": strings("vdb")},
            "its window overlaps that of vda",
        ),
    ],
)
def test_devices_that_collide_are_listed(changes: dict[str, bytes], why: str) -> None:
    """Two devices share neither name, nor interrupt, nor addresses: the first is driven."""
    second = device(**changes)
    second.name = "second"

    found = parse_blob(soc(device(), second))

    assert [one.name for one in found.devices] == ["vda"]
    assert fates(found)["/soc/second"].reason == why


def test_a_tree_without_memory_gets_some() -> None:
    """Many trees leave it to the boot loader to say how much there is."""
    assert parse_blob(encode(Node(""))).ram_size == 64 << 20


@pytest.mark.parametrize(("size", "used"), [(1 << 40, 64 << 30), ((8 << 20) + 100, 8 << 20)])
def test_a_tree_of_any_memory_has_as_much_as_a_driver_may_have(size: int, used: int) -> None:
    """Servers have more, and a firmware may keep a part of a page for itself."""
    counts = {"#address-cells": cells(2), "#size-cells": cells(2)}
    memory = Node("memory", {"device_type": strings("memory"), "reg": cells64(1 << 31, size)})

    assert parse_blob(encode(Node("", counts, [memory]))).ram_size == used
