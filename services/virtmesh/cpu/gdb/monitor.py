"""The commands of `monitor` in GDB: what a debugger asks the machine, beside the hart.

Each returns text for the debugger's user. None touches a register of a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from virtmesh.cpu.machine import CpuMachine

HELP = """\
monitor status             state of the CPU, its mode, and what it has executed
monitor devices            the devices, where they are, and how each one is
monitor translate ADDRESS  physical address of a virtual one, by the page tables of now
monitor interrupts on|off  whether a step takes interrupts; off, unless you say so
monitor reset              boot anew, and stop before the first instruction
"""
MODES = {0: "user", 1: "supervisor", 3: "machine"}
"""Names of the privilege levels."""
STALE = "GDB shows the old registers until: maintenance flush register-cache\n"


class Monitor:
    """Executes the commands of one debugger."""

    def __init__(self, machine: CpuMachine) -> None:
        self._machine = machine
        self.interrupts = False
        """Whether a step takes interrupts that are pending."""
        self._commands: Mapping[str, Callable[[list[str]], Awaitable[str]]] = {
            "help": self._help,
            "status": self._status,
            "devices": self._devices,
            "translate": self._translate,
            "interrupts": self._interrupts,
            "reset": self._reset,
        }

    async def execute(self, line: str) -> str:
        """Execute a command line and return its output, which says what failed as well."""
        name, *arguments = line.split() or ["help"]
        command = self._commands.get(name)
        if command is None:
            return f"{name[:40]!r} is no command of this machine:\n{HELP}"
        try:
            return await command(arguments)
        except VirtmeshError as error:
            return f"{error.message}\n"

    async def _help(self, _arguments: list[str]) -> str:
        return HELP

    async def _status(self, _arguments: list[str]) -> str:
        """Say how the CPU is."""
        now = self._machine.status.now
        registers = await self._machine.engine.call(lambda board: board.registers())
        pc, mode = registers["pc"], MODES.get(registers["privilege"], "?")
        symbol = self._machine.symbols.name(pc)
        counted = self._machine.engine.stats()
        return (
            f"{now.state.name.lower()} at {pc:#x}{f' <{symbol}>' if symbol else ''}, {mode} mode;"
            f" boot {now.boots}, {counted['instructions']} instructions,"
            f" {counted['mmio_accesses']} register accesses\n"
        )

    async def _devices(self, _arguments: list[str]) -> str:
        """List the devices."""
        lines = [
            f"{one.node.address:#x}  {name}: {one.state.name.lower()} {one.detail}".rstrip()
            for name, one in self._machine.devices.items()
        ]
        return "\n".join([*sorted(lines), ""])

    async def _translate(self, arguments: list[str]) -> str:
        """Translate a virtual address."""
        try:
            (text,) = arguments
            address = int(text, 0)
        except ValueError:
            return "usage: monitor translate ADDRESS\n"
        if not 0 <= address < 1 << 64:
            return "an address has 64 bits\n"
        found = await self._machine.engine.call(lambda board: board.translate(address))
        return f"{address:#x} is not mapped\n" if found is None else f"{address:#x}: {found:#x}\n"

    async def _interrupts(self, arguments: list[str]) -> str:
        """Say whether a step takes interrupts, and change it."""
        match arguments:
            case []:
                pass
            case ["on" | "off" as choice]:
                self.interrupts = choice == "on"
            case _:
                return "usage: monitor interrupts on|off\n"
        return f"a step {'takes interrupts' if self.interrupts else 'leaves interrupts pending'}\n"

    async def _reset(self, _arguments: list[str]) -> str:
        """Boot anew. The CPU of a debugger that asks is stopped, and stays so."""
        status = await self._machine.reset()
        return f"{status.state.name.lower()} at {status.pc:#x}. {STALE}"
