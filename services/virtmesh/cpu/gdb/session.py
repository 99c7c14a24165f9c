"""One debugger: what it asks, and what the CPU does.

https://sourceware.org/gdb/current/onlinedocs/gdb.html/Packets.html. A debugger is trusted with the
guest and with nothing else: every number is parsed, every length bounded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from virtmesh.cpu.gdb.monitor import Monitor
from virtmesh.cpu.gdb.packets import PACKET_MAX
from virtmesh.cpu.gdb.points import Points
from virtmesh.cpu.gdb.target import F0, FILE, GdbRegister, describe, number_registers
from virtmesh.cpu.memory import read_mapped, write_memory
from virtmesh.cpu.status import CpuState, StopReason
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from virtmesh_native import Board

    from virtmesh.cpu.machine import CpuMachine

UNSUPPORTED = b""
OK = b"OK"
FAILED = b"E01"
READ_MAX = (PACKET_MAX - 8) // 2
"""Most bytes of memory of one packet."""
FEATURES = (
    b"PacketSize=%x;qXfer:features:read+;swbreak+;hwbreak+;QStartNoAckMode+;vContSupported+"
    % PACKET_MAX
)
FIXED = {
    b"qAttached": b"1",
    b"qC": b"QC1",
    b"qfThreadInfo": b"m1",
    b"qsThreadInfo": b"l",
    b"vCont?": b"vCont;c;C;s;S",
}
"""Answers that are always the same: there is one thread, and it was there before."""
G_LAST = F0 + FILE - 1
"""The last register of the packets g and G; others are read one by one."""
XFER = re.compile(rb"qXfer:features:read:target\.xml:([0-9a-f]+),([0-9a-f]+)")
ADDRESS = re.compile(rb"[0-9a-f]{1,16}")


class GdbSession:
    """Answers packets. `begin` before the first, `end` after the last."""

    def __init__(self, machine: CpuMachine) -> None:
        self._machine = machine
        self._points = Points(machine)
        self._monitor = Monitor(machine)
        self._registers: tuple[GdbRegister, ...] = ()
        self._ran_before = False
        self.wants_acks = True
        """False once the debugger asked for none (QStartNoAckMode)."""
        self.ended = False
        """True after the debugger said that it leaves."""
        self._answers: Mapping[bytes, Callable[[bytes], Awaitable[bytes | None]]] = {
            b"?": self._why,
            b"g": self._read_all,
            b"G": self._write_all,
            b"p": self._read_one,
            b"P": self._write_one,
            b"m": self._read_memory,
            b"M": self._write_memory,
            b"c": self._go,
            b"C": lambda rest: self._go(skip_signal(rest)),
            b"s": self._step,
            b"S": lambda rest: self._step(skip_signal(rest)),
            b"D": self._detach,
            b"k": self._kill,
        }

    async def begin(self) -> None:
        """Stop the CPU, as debuggers expect it. Errors: NoAnswer; DeviceNotReady."""
        before = self._machine.status.now.state
        self._ran_before = before in {CpuState.RUNNING, CpuState.STALLED, CpuState.WAITING}
        await self._machine.halt()
        known = await self._machine.engine.call(lambda board: list(board.registers()))
        self._registers = number_registers(known)

    async def end(self) -> None:
        """Take the breakpoints away; a CPU that ran before, or that the debugger let run, runs."""
        await self._points.clear()
        if self._ran_before and self._machine.status.now.state is CpuState.STOPPED:
            await self._machine.go()

    async def answer(self, packet: bytes) -> bytes | None:
        """Return the answer to a packet; None if none comes now: the CPU runs."""
        try:
            if packet.startswith((b"Z", b"z")):
                await self._points.change(packet)
                return OK
            if packet.startswith((b"q", b"Q", b"v", b"H", b"T")):
                return await self._query(packet)
            handler = self._answers.get(packet[:1])
            return UNSUPPORTED if handler is None else await handler(packet[1:])
        except (VirtmeshError, ValueError, OverflowError):
            return FAILED

    async def interrupt(self) -> None:
        """Stop the CPU: Ctrl-C in the debugger."""
        try:
            await self._machine.halt()
        except VirtmeshError:
            return

    async def stopped(self) -> bytes:
        """Wait until the CPU stops; return why."""
        status = await self._machine.status.until(CpuState.STOPPED, CpuState.OFF)
        return self._points.spell_stop(status)

    async def _query(self, packet: bytes) -> bytes | None:
        """Answer what asks about the stub, or about threads: there is one."""
        if packet.startswith(b"qSupported"):
            return FEATURES
        if packet == b"QStartNoAckMode":
            self.wants_acks = False
            return OK
        if (found := XFER.fullmatch(packet)) is not None:
            offset, length = (int(number, 16) for number in found.groups())
            text = describe(self._registers)
            part = text[offset : offset + min(length, READ_MAX)]
            return (b"m" if offset + len(part) < len(text) else b"l") + part
        if packet.startswith(b"qRcmd,"):
            line = bytes.fromhex(packet[6:].decode()).decode(errors="replace")
            return (await self._monitor.execute(line)).encode()[:READ_MAX].hex().encode()
        if packet.startswith(b"vCont;"):
            resume = {b"c": self._go, b"s": self._step}.get(packet[6:7].lower())
            return FAILED if resume is None else await resume(b"")
        return OK if packet.startswith((b"H", b"T")) else FIXED.get(packet, UNSUPPORTED)

    async def _why(self, _rest: bytes) -> bytes:
        """Say why the CPU is stopped."""
        return self._points.spell_stop(self._machine.status.now)

    async def _read_all(self, _rest: bytes) -> bytes:
        """Read the general and floating-point registers."""
        values = await self._machine.engine.call(lambda board: board.registers())
        return b"".join(
            values.get(one.own, 0).to_bytes(one.size, "little").hex().encode()
            for one in self._registers
            if one.number <= G_LAST
        )

    async def _write_all(self, rest: bytes) -> bytes:
        """Write them. Errors: ValueError."""
        data, place = bytes.fromhex(rest.decode()), 0
        wanted = []
        for one in self._registers:
            if one.number <= G_LAST and place + one.size <= len(data):
                wanted.append((one.own, int.from_bytes(data[place : place + one.size], "little")))
                place += one.size
        await self._set(wanted)
        return OK

    async def _read_one(self, rest: bytes) -> bytes:
        """Read one register. Errors: ValueError."""
        one = self._find(int(rest, 16))
        values = await self._machine.engine.call(lambda board: board.registers())
        if one.own not in values:
            return b"x" * (2 * one.size)
        mask = (1 << 8 * one.size) - 1
        return (values[one.own] & mask).to_bytes(one.size, "little").hex().encode()

    async def _write_one(self, rest: bytes) -> bytes:
        """Write one register. Errors: ValueError."""
        number, _, value = rest.partition(b"=")
        one = self._find(int(number, 16))
        data = bytes.fromhex(value.decode())
        if len(data) != one.size:
            return FAILED
        await self._set([(one.own, int.from_bytes(data, "little"))])
        return OK

    def _find(self, number: int) -> GdbRegister:
        """Return a register. Errors: ValueError."""
        for one in self._registers:
            if one.number == number:
                return one
        raise ValueError(f"no register has the number {number}")

    async def _set(self, wanted: list[tuple[str, int]]) -> None:
        """Write registers. Errors: ValueError; CpuRunning."""
        self._machine.require_stopped()
        writable = [(name, value) for name, value in wanted if name != "x0"]

        def write(board: Board) -> None:
            for name, value in writable:
                board.set_register(name, value)

        await self._machine.engine.call(write)

    async def _read_memory(self, rest: bytes) -> bytes:
        """Read RAM by the page tables of now, up to where none is. Errors: BadAddress; ValueError.

        Registers of devices are not read: that may change the device.
        """
        address, length = (int(number, 16) for number in rest.split(b","))
        size = min(length, READ_MAX)
        data = await self._machine.engine.call(lambda board: read_mapped(board, address, size))
        return data.hex().encode()

    async def _write_memory(self, rest: bytes) -> bytes:
        """Write memory. Errors: BadAddress; ValueError."""
        place, _, digits = rest.partition(b":")
        address, length = (int(number, 16) for number in place.split(b","))
        data = bytes.fromhex(digits.decode())
        if len(data) != length:
            return FAILED
        await self._machine.engine.call(
            lambda board: write_memory(board, address, data, virtual=True)
        )
        return OK

    async def _go(self, rest: bytes) -> None:
        """Let the CPU run; the answer comes when it stops. Errors: ValueError; CpuRunning."""
        await self._jump(rest)
        await self._machine.go()
        self._ran_before = True

    async def _step(self, rest: bytes) -> bytes:
        """Execute one instruction, at a breakpoint as well. Errors: ValueError; CpuRunning.

        GDB steps off a breakpoint before it goes on. If that step took an interrupt, the guest
        would come back to the breakpoint: interrupts wait, unless the user says otherwise.
        """
        await self._jump(rest)
        pc = await self._machine.engine.call(lambda board: board.registers()["pc"])
        interrupts = self._monitor.interrupts
        status = await self._machine.step(1, interrupts=interrupts)
        if status.reason is StopReason.BREAKPOINT and status.pc == pc:
            # The hart passes a breakpoint that it has told.
            status = await self._machine.step(1, interrupts=interrupts)
        return self._points.spell_stop(status)

    async def _jump(self, rest: bytes) -> None:
        """Go on at an address, if there is one. Errors: ValueError; CpuRunning."""
        if not rest:
            return
        if ADDRESS.fullmatch(rest) is None:
            raise ValueError("no address to go on at")
        await self._set([("pc", int(rest, 16))])

    async def _detach(self, _rest: bytes) -> bytes:
        """Let the debugger go: the CPU runs on."""
        self._ran_before = self.ended = True
        return OK

    async def _kill(self, _rest: bytes) -> None:
        """Let the debugger go. The machine is not the debugger's to end: it goes on."""
        self._ran_before = self.ended = True


def skip_signal(rest: bytes) -> bytes:
    """Return the address of the packets C and S. A hart has no signals."""
    return rest.partition(b";")[2]
