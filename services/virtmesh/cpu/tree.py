"""The device tree that a guest boots with: the CPU, its timer and interrupts, RAM, the devices.

Bindings: Linux' Documentation/devicetree/bindings: riscv/cpus.yaml, riscv/extensions.yaml,
timer/sifive,clint.yaml, interrupt-controller/sifive,plic-1.0.0.yaml, power/reset/syscon-*.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh.cpu.board import TEST_POWEROFF, TEST_RESET, TIMEBASE_HZ
from virtmesh.kernel.tree.fdt import Node, cells, cells64, encode, strings
from virtmesh.kernel.tree.nodes import (
    chosen_node,
    device_node,
    memory_node,
    plic_node,
    root_node,
    soc_node,
)
from virtmesh.machine.board import CLINT_ADDRESS, CLINT_SIZE, TEST_ADDRESS, TEST_SIZE
from virtmesh_common.errors import BadMachine

if TYPE_CHECKING:
    from virtmesh.machine import Machine

HART_PHANDLE, PLIC_PHANDLE, TEST_PHANDLE = 1, 2, 3
"""Phandles of the hart's interrupt controller, the PLIC and the test device."""
M_SOFTWARE, M_TIMER, S_EXTERNAL, M_EXTERNAL = 3, 7, 9, 11
"""Interrupts of a hart (Privileged Architecture, mcause)."""
BASE = "rv64i"
EXTENSIONS = (
    *("i", "m", "a", "f", "d", "c"),
    *("zicntr", "zicsr", "zifencei", "sstc", "svadu"),
)
"""What the hart has (riscv,isa-extensions)."""
ISA = "rv64imafdc_zicntr_zicsr_zifencei_sstc_svadu"
"""The same in the older form (riscv,isa)."""
ARGUMENTS_MAX = 2047
"""Longest kernel command line: Linux' COMMAND_LINE_SIZE on RISC-V, less its NUL."""


@dataclass(frozen=True)
class Boot:
    """What /chosen tells a kernel."""

    arguments: str = ""
    """The kernel command line."""
    initrd: tuple[int, int] | None = None
    """First address of the initial RAM disk, and the first behind it."""


def make_guest_blob(machine: Machine, boot: Boot) -> bytes:
    """Make the flattened device tree of a machine for its guest. Errors: BadMachine."""
    devices = [device_node(device, PLIC_PHANDLE) for device in machine.devices]
    plic = plic_node(PLIC_PHANDLE)
    plic.properties["interrupts-extended"] = cells(
        *(HART_PHANDLE, M_EXTERNAL, HART_PHANDLE, S_EXTERNAL)
    )
    soc = soc_node([_test(), _clint(), plic, *devices])
    chosen = chosen_node(soc)
    _fill_chosen(chosen, boot)
    return encode(
        root_node(
            machine.name,
            [
                *(chosen, memory_node(machine.memory), _cpus(), soc),
                _syscon("poweroff", TEST_POWEROFF),
                _syscon("reboot", TEST_RESET),
            ],
        )
    )


def _fill_chosen(chosen: Node, boot: Boot) -> None:
    """Add command line and initial RAM disk. Errors: BadMachine."""
    if len(boot.arguments.encode()) > ARGUMENTS_MAX:
        raise BadMachine(f"the kernel command line is longer than {ARGUMENTS_MAX} bytes")
    if "\0" in boot.arguments:
        raise BadMachine("the kernel command line has a NUL in it")
    if boot.arguments:
        chosen.properties["bootargs"] = strings(boot.arguments)
    if boot.initrd is not None:
        begin, end = boot.initrd
        chosen.properties["linux,initrd-start"] = cells64(begin)
        chosen.properties["linux,initrd-end"] = cells64(end)


def _cpus() -> Node:
    """Make the node of the hart."""
    controller = Node(
        "interrupt-controller",
        {
            "#interrupt-cells": cells(1),
            "#address-cells": cells(0),
            "interrupt-controller": b"",
            "compatible": strings("riscv,cpu-intc"),
            "phandle": cells(HART_PHANDLE),
        },
    )
    cpu = Node(
        "cpu@0",
        {
            "device_type": strings("cpu"),
            "reg": cells(0),
            "status": strings("okay"),
            "compatible": strings("riscv"),
            "riscv,isa": strings(ISA),
            "riscv,isa-base": strings(BASE),
            "riscv,isa-extensions": strings(*EXTENSIONS),
            "mmu-type": strings("riscv,sv39"),
        },
        [controller],
    )
    return Node(
        "cpus",
        {
            "#address-cells": cells(1),
            "#size-cells": cells(0),
            "timebase-frequency": cells(TIMEBASE_HZ),
        },
        [cpu],
    )


def _clint() -> Node:
    """Make the node of the timer and of software interrupts."""
    return Node(
        f"clint@{CLINT_ADDRESS:x}",
        {
            "compatible": strings("sifive,clint0", "riscv,clint0"),
            "reg": cells64(CLINT_ADDRESS, CLINT_SIZE),
            "interrupts-extended": cells(HART_PHANDLE, M_SOFTWARE, HART_PHANDLE, M_TIMER),
        },
    )


def _test() -> Node:
    """Make the node of the device that powers the machine off."""
    return Node(
        f"test@{TEST_ADDRESS:x}",
        {
            "compatible": strings("sifive,test1", "sifive,test0", "syscon"),
            "reg": cells64(TEST_ADDRESS, TEST_SIZE),
            "phandle": cells(TEST_PHANDLE),
        },
    )


def _syscon(name: str, value: int) -> Node:
    """Make the node that says which value does what."""
    return Node(
        name,
        {
            "compatible": strings(f"syscon-{name}"),
            "regmap": cells(TEST_PHANDLE),
            "offset": cells(0),
            "value": cells(value),
        },
    )
