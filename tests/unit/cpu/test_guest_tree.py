"""The device tree of a guest: what Linux and dtc want to see in it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

from virtmesh.cpu.tree import Boot, make_guest_blob
from virtmesh.kernel.tree.fdt import Node, decode
from virtmesh.machine import DeviceEntry, Machine
from virtmesh_common.errors import BadMachine

MACHINE = Machine(
    name="demo",
    memory=128 << 20,
    devices=(
        DeviceEntry(name="vda", kind="blk", endpoint="unix:/run/vda.sock", slot=0),
        DeviceEntry(name="keyboard", kind="input", endpoint="unix:/run/keyboard.sock", slot=3),
        DeviceEntry(name="serial", kind="uart", endpoint="unix:/run/serial.sock", slot=0),
    ),
)
BOOT = Boot("console=ttyS0 root=/dev/vda", (0x8400_0000, 0x8400_1234))


def tree(machine: Machine = MACHINE, boot: Boot = BOOT) -> Node:
    """Make the tree and read it again."""
    return decode(make_guest_blob(machine, boot))


def find(node: Node, *path: str) -> Node:
    """Return a node by its path."""
    for name in path:
        node = next(one for one in node.children if one.name == name)
    return node


def test_the_hart_says_what_it_has() -> None:
    """Extensions in both forms, the MMU, the frequency of the timer."""
    cpus = find(tree(), "cpus")
    cpu = find(cpus, "cpu@0")

    assert cpus.cells("timebase-frequency") == (10_000_000,)
    assert cpu.strings("riscv,isa") == ("rv64imafdc_zicntr_zicsr_zifencei_sstc_svadu",)
    assert {"i", "m", "a", "f", "d", "c", "sstc", "svadu"} <= set(
        cpu.strings("riscv,isa-extensions")
    )
    assert cpu.strings("mmu-type") == ("riscv,sv39",)


def test_interrupts_reach_the_hart() -> None:
    """The PLIC at machine and supervisor level, the CLINT by timer and software."""
    root = tree()
    (hart,) = find(root, "cpus", "cpu@0", "interrupt-controller").cells("phandle")
    plic = find(root, "soc", "plic@c000000")

    assert plic.cells("interrupts-extended") == (hart, 11, hart, 9)
    assert find(root, "soc", "clint@2000000").cells("interrupts-extended") == (hart, 3, hart, 7)
    assert find(root, "soc", "virtio_mmio@10004000").cells("interrupts") == (4,)
    assert find(root, "soc", "virtio_mmio@10004000").cells("interrupt-parent") == plic.cells(
        "phandle"
    )


def test_the_kernel_is_told_how_to_boot() -> None:
    """Command line, initial RAM disk, console."""
    chosen = find(tree(), "chosen")

    assert chosen.strings("bootargs") == ("console=ttyS0 root=/dev/vda",)
    assert chosen.strings("stdout-path") == ("/soc/serial@10000000",)
    assert chosen.cells("linux,initrd-start") == (0, 0x8400_0000)
    assert chosen.cells("linux,initrd-end") == (0, 0x8400_1234)


def test_the_machine_can_be_powered_off() -> None:
    """By the values that the test device takes."""
    root = tree()
    (test,) = find(root, "soc", "test@100000").cells("phandle")

    for name, value in (("poweroff", 0x5555), ("reboot", 0x7777)):
        node = find(root, name)
        assert node.strings("compatible") == (f"syscon-{name}",)
        assert (node.cells("regmap"), node.cells("value")) == ((test,), (value,))


def test_the_guest_learns_nothing_of_the_host() -> None:
    """Where services are is none of its business."""
    assert b"/run/" not in make_guest_blob(MACHINE, BOOT)
    assert b"virtmesh,endpoint" not in make_guest_blob(MACHINE, BOOT)


def test_a_machine_without_a_serial_port_has_no_console() -> None:
    """The kernel finds one elsewhere, or none."""
    root = tree(replace(MACHINE, devices=MACHINE.devices[:1]), Boot())

    assert find(root, "chosen").properties == {}


@pytest.mark.parametrize("arguments", ["x" * 2048, "a\0b"])
def test_a_command_line_that_no_kernel_takes_is_refused(arguments: str) -> None:
    """Linux would cut it in silence."""
    with pytest.raises(BadMachine, match="command line"):
        make_guest_blob(MACHINE, Boot(arguments))


@pytest.mark.skipif(not shutil.which("dtc"), reason="dtc is not installed")
def test_dtc_finds_nothing_wrong() -> None:
    """It knows the rules for buses, interrupts and reg."""
    result = subprocess.run(
        ["dtc", "-I", "dtb", "-O", "dts", "-W", "no-unit_address_vs_reg"],
        input=make_guest_blob(MACHINE, BOOT),
        capture_output=True,
        check=True,
    )

    assert result.stderr == b""
    assert b'riscv,isa-base = "rv64i";' in result.stdout
