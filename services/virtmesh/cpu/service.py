"""CpuService: run, stop and look at the CPU (virtmesh.cpu.v1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtmesh.cpu.lines import LineWatch
from virtmesh.cpu.memory import CHUNK_MAX, read_memory, write_memory
from virtmesh_common.api.cpu.v1 import cpu_pb2 as pb
from virtmesh_common.api.cpu.v1 import cpu_pb2_grpc
from virtmesh_common.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_native import Board

    from virtmesh.cpu.machine import CpuMachine
    from virtmesh.cpu.status import CpuStatus

SERVICE = pb.DESCRIPTOR.services_by_name["CpuService"].full_name
OWNER = "rpc"
"""Whose breakpoints SetBreakpoints replaces; a debugger has its own."""
POINTS_MAX = 256
"""Most breakpoints, and most watchpoints (cpu.proto)."""
REGISTERS_MAX = 128
"""Most registers of one SetRegisters (cpu.proto)."""
FIRST, FILES = ("pc", "privilege"), "xf"
"""Registers that are listed first, and the letters of the files after them."""
KIND_OF = {(True, False): "r", (False, True): "w", (True, True): "rw"}
"""What a watchpoint is called, by read and write."""


class CpuService(cpu_pb2_grpc.CpuServiceServicer):
    """Serves virtmesh.cpu.v1.CpuService."""

    def __init__(self, machine: CpuMachine) -> None:
        self._machine = machine
        self._watches: set[LineWatch] = set()

    def close(self) -> None:
        """End the streams that have no end of their own."""
        for watch in self._watches:
            watch.end()

    async def Start(self, request: pb.StartRequest, context: Any) -> pb.StartResponse:
        """Let the CPU run."""
        return pb.StartResponse(status=self._spell(await self._machine.go()))

    async def Stop(self, request: pb.StopRequest, context: Any) -> pb.StopResponse:
        """Stop the CPU."""
        return pb.StopResponse(status=self._spell(await self._machine.halt()))

    async def Step(self, request: pb.StepRequest, context: Any) -> pb.StepResponse:
        """Execute instructions."""
        return pb.StepResponse(status=self._spell(await self._machine.step(request.count)))

    async def Reset(self, request: pb.ResetRequest, context: Any) -> pb.ResetResponse:
        """Boot anew."""
        return pb.ResetResponse(status=self._spell(await self._machine.reset()))

    async def Registers(self, request: pb.RegistersRequest, context: Any) -> pb.RegistersResponse:
        """Read the registers."""
        values = await self._machine.engine.call(lambda board: dict(board.registers()))
        return pb.RegistersResponse(
            registers=[pb.Register(name=name, value=values[name]) for name in in_order(values)],
            status=self._spell(self._machine.status.now),
        )

    async def SetRegisters(
        self, request: pb.SetRegistersRequest, context: Any
    ) -> pb.SetRegistersResponse:
        """Write registers."""
        if len(request.registers) > REGISTERS_MAX:
            raise BadValue(f"{len(request.registers)} registers: at most {REGISTERS_MAX}")
        self._machine.require_stopped()
        wanted = [(one.name, one.value) for one in request.registers]
        await self._machine.engine.call(lambda board: set_registers(board, wanted))
        return pb.SetRegistersResponse(status=self._spell(self._machine.status.now))

    async def ReadMemory(
        self, request: pb.ReadMemoryRequest, context: Any
    ) -> pb.ReadMemoryResponse:
        """Read guest RAM."""
        address, size, virtual = request.address, request.size_bytes, request.virtual
        if size > CHUNK_MAX:
            raise BadValue(f"{size} bytes: at most {CHUNK_MAX} in one call")
        data = await self._machine.engine.call(
            lambda board: read_memory(board, address, size, virtual=virtual)
        )
        return pb.ReadMemoryResponse(data=data)

    async def WriteMemory(
        self, request: pb.WriteMemoryRequest, context: Any
    ) -> pb.WriteMemoryResponse:
        """Change guest RAM."""
        address, data, virtual = request.address, request.data, request.virtual
        if len(data) > CHUNK_MAX:
            raise BadValue(f"{len(data)} bytes: at most {CHUNK_MAX} in one call")
        await self._machine.engine.call(
            lambda board: write_memory(board, address, data, virtual=virtual)
        )
        return pb.WriteMemoryResponse()

    async def SetBreakpoints(
        self, request: pb.SetBreakpointsRequest, context: Any
    ) -> pb.SetBreakpointsResponse:
        """Replace all breakpoints and watchpoints."""
        if max(len(request.addresses), len(request.watchpoints)) > POINTS_MAX:
            raise BadValue(f"at most {POINTS_MAX} breakpoints, and as many watchpoints")
        addresses = list(request.addresses)
        watched = [spell_watchpoint(one) for one in request.watchpoints]

        await self._machine.set_points(OWNER, addresses, watched)
        return pb.SetBreakpointsResponse(status=self._spell(self._machine.status.now))

    async def Watch(  # type: ignore[override]  # the stubs know generators only
        self, request: pb.WatchRequest, context: Any
    ) -> None:
        """Stream the state of the CPU."""
        async for status in self._machine.status.changes():
            await context.write(pb.WatchResponse(status=self._spell(status)))

    async def WatchLines(  # type: ignore[override]  # the stubs know generators only
        self, request: pb.WatchLinesRequest, context: Any
    ) -> None:
        """Stream the interrupt lines of the devices."""
        watch = LineWatch([one.node for one in self._machine.devices.values()])
        self._watches.add(watch)
        try:
            async for lines in watch.changes():
                await context.write(pb.WatchLinesResponse(lines=lines))
        finally:
            self._watches.discard(watch)
            await watch.close()

    async def GetStats(self, request: pb.GetStatsRequest, context: Any) -> pb.GetStatsResponse:
        """Return the counters."""
        # A run that is under way has not counted its time yet: it ends for this call.
        counted = await self._machine.engine.call(lambda board: board.stats())
        fields = pb.GetStatsResponse.DESCRIPTOR.fields_by_name
        return pb.GetStatsResponse(
            **{name: value for name, value in counted.items() if name in fields},
            boots=self._machine.boots,
            restorations=sum(one.restorations for one in self._machine.devices.values()),
        )

    async def GetReport(self, request: pb.GetReportRequest, context: Any) -> pb.GetReportResponse:
        """Return what the guest did wrong beside its devices."""
        return pb.GetReportResponse(violations=self._machine.reports.board())

    def _spell(self, status: CpuStatus) -> pb.Status:
        """Make the message of a status."""
        return pb.Status(
            state=pb.CpuState.Value(f"CPU_STATE_{status.state.name}"),
            reason=pb.StopReason.Value(f"STOP_REASON_{status.reason.name}"),
            pc=status.pc,
            code=status.code,
            address=status.address,
            missing=status.missing,
            boots=status.boots,
            sequence=status.sequence,
            symbol=self._machine.symbols.name(status.pc),
        )


def in_order(names: Iterable[str]) -> list[str]:
    """Sort names of registers: pc, privilege, x0 to x31, f0 to f31, the others by name."""

    def place(name: str) -> tuple[int, int, str]:
        if name in FIRST:
            return 0, FIRST.index(name), name
        if name[1:].isdecimal() and name[0] in FILES:
            return 1 + FILES.index(name[0]), int(name[1:]), name
        return 1 + len(FILES), 0, name

    return sorted(names, key=place)


def set_registers(board: Board, wanted: list[tuple[str, int]]) -> None:
    """Write registers. Errors: BadValue for a name that no register has."""
    for name, value in wanted:
        try:
            board.set_register(name, value)
        except (KeyError, ValueError) as error:
            raise BadValue(f"{name} can't be set: {error}") from error


def spell_watchpoint(point: pb.Watchpoint) -> tuple[int, int, str]:
    """Return a watchpoint as the board takes it. Errors: BadValue."""
    kind = KIND_OF.get((point.read, point.write))
    if kind is None or not point.size_bytes or point.address + point.size_bytes > 1 << 64:
        raise BadValue("a watchpoint needs at least 1 byte, and reads or writes to watch")
    return point.address, point.size_bytes, kind
