"""Trees of real boards: QEMU's, made by QEMU here, and pieces of others, compiled by dtc.

Every node is listed with what became of it; what is bound to a service by address is driven.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from virtmesh.kernel.tree import Binding, Fate, FoundMachine, ListedNode, parse_blob
from virtmesh.kernel.tree.fdt import Node, decode
from virtmesh_common.errors import BadMachine

NUMA = (
    *("-m", "2G", "-object", "memory-backend-ram,size=1G,id=m0"),
    *("-object", "memory-backend-ram,size=1G,id=m1"),
    *("-numa", "node,memdev=m0", "-numa", "node,memdev=m1"),
)
BOARDS = {
    "riscv-virt": ("qemu-system-riscv64", "virt", ()),
    "riscv-virt-smp": ("qemu-system-riscv64", "virt", ("-smp", "4")),
    "riscv-virt-aia": ("qemu-system-riscv64", "virt,aia=aplic-imsic", ("-smp", "2")),
    "riscv-virt-numa": ("qemu-system-riscv64", "virt", ("-smp", "2", *NUMA)),
    "riscv-sifive-u": ("qemu-system-riscv64", "sifive_u", ()),
    "aarch64-virt": ("qemu-system-aarch64", "virt", ("-cpu", "cortex-a57")),
    "aarch64-virt-gicv3": ("qemu-system-aarch64", "virt,gic-version=3", ("-cpu", "cortex-a57")),
    "arm-virt": ("qemu-system-aarch64", "virt", ("-cpu", "cortex-a15")),
}
RISCV = [name for name in BOARDS if name.startswith("riscv-virt")]
ARM = [name for name in BOARDS if "arm" in name or "aarch64" in name]

needs_dtc = pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc is not installed")


def qemu_tree(name: str, folder: Path) -> bytes:
    """Have QEMU write the tree of a board."""
    program, machine, options = BOARDS[name]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    path = folder / "board.dtb"
    subprocess.run(
        [program, "-M", f"{machine},dumpdtb={path}", "-nographic", "-nodefaults", *options],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return path.read_bytes()


def compiled(source: str) -> bytes:
    """Compile a tree with dtc."""
    return subprocess.run(
        ["dtc", "-q", "-I", "dts", "-O", "dtb"],
        input=source.encode(),
        check=True,
        capture_output=True,
    ).stdout


def listed(found: FoundMachine) -> dict[str, ListedNode]:
    """Return what became of each node, by its path."""
    return {one.path: one for one in found.nodes}


def count(node: Node) -> int:
    """Count the nodes of a tree."""
    return 1 + sum(count(child) for child in node.children)


@pytest.mark.parametrize("name", BOARDS)
def test_every_node_of_a_qemu_board_is_listed(name: str, tmp_path: Path) -> None:
    """Each with a fate, and with a reason where it is not driven."""
    blob = qemu_tree(name, tmp_path)

    found = parse_blob(blob)

    assert len(found.nodes) == count(decode(blob))
    assert len(listed(found)) == len(found.nodes)
    assert found.devices == ()
    assert all(one.reason for one in found.nodes)
    assert found.ram_size in {128 << 20, 1 << 30}


@pytest.mark.parametrize("name", RISCV)
def test_nodes_of_the_riscv_board_are_driven_when_they_are_bound(name: str, tmp_path: Path) -> None:
    """A disk, a keyboard and the console by their addresses, with the board's interrupts."""
    bindings = [
        Binding(0x1000_8000, "vda", "unix:/run/vda.sock"),
        Binding(0x1000_7000, "keyboard", "unix:/run/keyboard.sock", reserved=True),
        Binding(0x1000_0000, "serial", "unix:/run/serial.sock"),
    ]

    found = parse_blob(qemu_tree(name, tmp_path), bindings)

    assert [(one.name, one.address, one.irq) for one in found.devices] == [
        ("serial", 0x1000_0000, 10), ("keyboard", 0x1000_7000, 7), ("vda", 0x1000_8000, 8),
    ]  # fmt: skip
    assert found.devices[0].properties["clock-frequency"] == 3_686_400
    assert found.console == "serial"
    nodes = listed(found)
    fates = {one.device: one.fate for one in found.nodes if one.device}
    assert fates == {"serial": Fate.DRIVEN, "vda": Fate.DRIVEN, "keyboard": Fate.RESERVED}
    assert nodes["/soc/virtio_mmio@10001000"].fate is Fate.UNBOUND
    assert "pci-host-ecam-generic" in nodes["/soc/pci@30000000"].reason
    assert nodes["/soc/pci@30000000"].fate is Fate.NOT_UNDERSTOOD


@pytest.mark.parametrize("name", ARM)
def test_nodes_of_the_arm_board_are_driven_when_they_are_bound(name: str, tmp_path: Path) -> None:
    """Its interrupts have three cells; its PL011, GIC and PCI are not understood."""
    bindings = [Binding(0x0A00_3E00, "vda", "unix:/run/vda.sock")]

    found = parse_blob(qemu_tree(name, tmp_path), bindings)

    (vda,) = found.devices
    assert (vda.name, vda.address, vda.size, vda.irq) == ("vda", 0x0A00_3E00, 0x200, 32 + 16 + 31)
    assert found.console == ""
    nodes = listed(found)
    for path in ("/pl011@9000000", "/intc@8000000", "/pcie@10000000"):
        assert nodes[path].fate is Fate.NOT_UNDERSTOOD
    assert sum(one.fate is Fate.UNBOUND for one in found.nodes) == 31


def test_a_binding_to_no_node_names_those_that_are_free(tmp_path: Path) -> None:
    """An address that was mistyped is told at the start."""
    blob = qemu_tree("riscv-virt", tmp_path)
    with pytest.raises(BadMachine, match=r"vda is bound to 0x9, .* 0x10000000 \(ns16550a\)"):
        parse_blob(blob, [Binding(9, "vda", "unix:/run/vda.sock")])


BOARD = (Path(__file__).parent / "data" / "board.dts").read_text(encoding="utf-8")
AT = {
    "/bus@40000000/serial@1000": 0x4000_1000,
    "/bus@40000000/serial@800100": 0x5000_0100,
    "/bus@40000000/serial@2000": 0x4000_2000,
    "/bus@40000000/serial@3000": 0x4000_3000,
    "/bus@40000000/serial@4000": 0x4000_4000,
    "/bus@40000000/inner@5000/serial@1,100": 0x4000_5100,
    "/bus@40000000/off@8000/serial@8000": 0x4000_8000,
}
"""Where nodes of the board are for its CPU."""


@pytest.fixture(scope="module")
def board() -> FoundMachine:
    """Read the board, with a service bound to each serial port that has an address."""
    bindings = [
        Binding(address, f"s{number}", f"unix:/run/s{number}.sock")
        for number, address in enumerate(AT.values())
    ]
    return parse_blob(compiled(BOARD), bindings)


@needs_dtc
def test_addresses_go_through_every_bus(board: FoundMachine) -> None:
    """By `ranges` of several rows, of other cell counts, one in the other."""
    nodes = listed(board)
    assert {path: nodes[path].address for path in AT} == AT


@needs_dtc
def test_interrupts_are_those_of_their_controllers(board: FoundMachine) -> None:
    """Three cells, an extended one, an inherited parent, and one by way of a map."""
    assert {one.address: one.irq for one in board.devices} == {
        0x4000_1000: 32 + 33, 0x5000_0100: 7, 0x4000_3000: 16 + 2, 0x4000_5100: 32 + 77,
    }  # fmt: skip


@needs_dtc
def test_a_port_of_a_board_has_its_properties(board: FoundMachine) -> None:
    """Its clock is that of another node; the console is where the alias says."""
    port = board.devices[0]
    assert port.properties["clock-frequency"] == 48_000_000
    assert (port.properties["reg-shift"], port.properties["reg-io-width"]) == (2, 4)
    assert board.console == port.name
    filled_in_by_nobody = board.devices[3]
    assert filled_in_by_nobody.address == 0x5000_0100
    assert "clock-frequency" not in filled_in_by_nobody.properties
    assert board.ram_size == 64 << 20


@needs_dtc
@pytest.mark.parametrize(
    ("path", "fate", "reason"),
    [
        ("/bus@40000000/serial@2000", Fate.DISABLED, 'the status of it is "disabled"'),
        (
            "/bus@40000000/off@8000/serial@8000",
            Fate.DISABLED,
            'the status of /bus@40000000/off@8000 is "fail"',
        ),
        (
            "/bus@40000000/serial@200000",
            Fate.NOT_UNDERSTOOD,
            "ranges of /bus@40000000 do not have its address 0x200000",
        ),
        (
            "/bus@40000000/serial@4000",
            Fate.NOT_UNDERSTOOD,
            "its interrupt has 5 cells for /odd@30000, and what they mean is not known",
        ),
        ("/bus@40000000/i2c@7000/serial@48", Fate.NOT_UNDERSTOOD, "reg has no size"),
        ("/memory@80000000", Fate.NOT_UNDERSTOOD, "reg has no size"),
        ("/odd@30000", Fate.NOT_UNDERSTOOD, "it has no compatible string"),
        ("/bus@40000000", Fate.READ, "a bus"),
    ],
)
def test_what_can_not_be_driven_is_listed(
    board: FoundMachine, path: str, fate: Fate, reason: str
) -> None:
    """With the reason; the kernel drives the others."""
    assert (listed(board)[path].fate, listed(board)[path].reason) == (fate, reason)


@needs_dtc
def test_a_device_that_was_made_otherwise_than_its_node_says_is_listed() -> None:
    """Its driver would take the wrong registers for those of the device."""
    binding = Binding(0x4000_1000, "s", "unix:/run/s.sock", properties={"reg-shift": 0})
    found = parse_blob(compiled(BOARD), [binding])
    assert found.devices == ()
    assert listed(found)["/bus@40000000/serial@1000"].reason == (
        "reg-shift is 2 here, and s was made with 0: give the device the same option"
    )
