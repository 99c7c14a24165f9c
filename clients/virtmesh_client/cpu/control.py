"""The CPU of a machine, for people and scripts on any host."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from virtmesh_client.cpu.models import CpuStatus, to_status
from virtmesh_client.report import read_board_report
from virtmesh_common.api.cpu.v1 import cpu_pb2 as pb
from virtmesh_common.api.cpu.v1.cpu_pb2_grpc import CpuServiceStub
from virtmesh_common.cpu import errors  # noqa: F401 - so that its classes are known

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from virtmesh_client.channel import Cancellable, KernelChannel
    from virtmesh_client.report import Report

CHUNK = 1 << 20
"""Most bytes of one call (virtmesh.cpu.v1)."""


class Cpu:
    """The CPU. Errors of all methods: NotOffered, if the machine has none; ServiceUnavailable.

    Example:
        with virtmesh_client.connect() as machine:
            cpu = machine.cpu()
            cpu.stop()
            print(hex(cpu.registers()["pc"]))
    """

    def __init__(self, channel: KernelChannel) -> None:
        self._channel = channel
        self._stub = CpuServiceStub(channel.grpc)

    def start(self) -> CpuStatus:
        """Let it run; a guest that has ended boots anew. Errors: DeviceNotReady."""
        return to_status(self._channel.ask(self._stub.Start, pb.StartRequest()).status)

    def stop(self) -> CpuStatus:
        """Stop it between two instructions. Errors: NoAnswer; DeviceNotReady."""
        return to_status(self._channel.ask(self._stub.Stop, pb.StopRequest()).status)

    def step(self, count: int = 1) -> CpuStatus:
        """Execute instructions. Errors: CpuRunning; BadValue."""
        request = pb.StepRequest(count=count)
        return to_status(self._channel.ask(self._stub.Step, request).status)

    def reset(self) -> CpuStatus:
        """Boot anew. Errors: DeviceNotReady."""
        return to_status(self._channel.ask(self._stub.Reset, pb.ResetRequest()).status)

    def registers(self) -> dict[str, int]:
        """Return the registers by name: pc, x0 to x31, f0 to f31, control and status registers."""
        found = self._channel.ask(self._stub.Registers, pb.RegistersRequest()).registers
        return {one.name: one.value for one in found}

    def status(self) -> CpuStatus:
        """Return how it is."""
        return next(self.watch())

    def set_registers(self, /, **values: int) -> CpuStatus:
        """Write registers of a CPU that is stopped. Errors: CpuRunning; BadValue."""
        registers = [pb.Register(name=name, value=value) for name, value in values.items()]
        request = pb.SetRegistersRequest(registers=registers)
        return to_status(self._channel.ask(self._stub.SetRegisters, request).status)

    def read_memory(self, address: int, size: int, *, virtual: bool = False) -> bytes:
        """Read RAM. Errors: BadAddress."""
        parts = []
        for start in range(0, size, CHUNK):
            request = pb.ReadMemoryRequest(
                address=address + start, size_bytes=min(CHUNK, size - start), virtual=virtual
            )
            parts.append(self._channel.ask(self._stub.ReadMemory, request).data)
        return b"".join(parts)

    def write_memory(self, address: int, data: bytes, *, virtual: bool = False) -> None:
        """Write RAM. Errors: BadAddress."""
        for start in range(0, len(data), CHUNK):
            request = pb.WriteMemoryRequest(
                address=address + start, data=data[start : start + CHUNK], virtual=virtual
            )
            self._channel.ask(self._stub.WriteMemory, request)

    def set_breakpoints(
        self, addresses: Iterable[int], watchpoints: Sequence[tuple[int, int, str]] = ()
    ) -> CpuStatus:
        """Replace all breakpoints and watchpoints; one is address, size, and "r", "w" or "rw".

        Errors: BadValue.
        """
        request = pb.SetBreakpointsRequest(
            addresses=addresses,
            watchpoints=[
                pb.Watchpoint(address=address, size_bytes=size, read="r" in kind, write="w" in kind)
                for address, size, kind in watchpoints
            ],
        )
        return to_status(self._channel.ask(self._stub.SetBreakpoints, request).status)

    def stats(self) -> dict[str, int]:
        """Return its counters by name; times are in nanoseconds."""
        answer = self._channel.ask(self._stub.GetStats, pb.GetStatsRequest())
        return {one.name: getattr(answer, one.name) for one in answer.DESCRIPTOR.fields}

    def report(self) -> Report:
        """Return what the guest did wrong beside its devices: accesses where nothing is."""
        return read_board_report(self._channel)

    def watch(self) -> Iterator[CpuStatus]:
        """Yield how it is, and then each change. Errors: ShuttingDown, at the end."""
        with self._channel.errors():
            call = self._stub.Watch(pb.WatchRequest(), metadata=self._channel.metadata())
            with self._channel.running(cast("Cancellable", call)):
                for answer in self._channel.messages(call):
                    yield to_status(answer.status)
