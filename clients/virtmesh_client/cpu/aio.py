"""The CPU for asyncio: the methods of `Cpu`, awaited (see aio/proxy.py)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from virtmesh_client.aio.proxy import Proxy, awaited
from virtmesh_client.aio.threads import run_in
from virtmesh_client.channel import Scope
from virtmesh_client.cpu.control import Cpu

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from virtmesh_client.cpu.models import CpuStatus


class AsyncCpu(Proxy[Cpu]):
    """The CPU; see `Cpu` for the methods.

    Example:
        async with await virtmesh_client.aconnect() as machine:
            await machine.cpu().stop()
    """

    start = awaited(Cpu.start)
    stop = awaited(Cpu.stop)
    step = awaited(Cpu.step)
    reset = awaited(Cpu.reset)
    registers = awaited(Cpu.registers)
    status = awaited(Cpu.status)
    set_registers = awaited(Cpu.set_registers)
    read_memory = awaited(Cpu.read_memory)
    write_memory = awaited(Cpu.write_memory)
    set_breakpoints = awaited(Cpu.set_breakpoints)
    stats = awaited(Cpu.stats)
    report = awaited(Cpu.report)

    async def watch(self) -> AsyncIterator[CpuStatus]:
        """Yield how it is, and then each change. Errors: ShuttingDown, at the end."""
        scope = Scope()
        try:
            states = await run_in(scope, self._blocking.watch)
            while (
                state := await run_in(scope, partial(next, states, None), waits=True)
            ) is not None:
                yield state
        finally:
            scope.cancel()
