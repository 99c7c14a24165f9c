"""Threads that all awaited calls of the process share, and one awaited call on one of them.

A call takes an idle thread, and a new one only while fewer than THREADS are busy; otherwise it
queues. A thread that finds no work for IDLE_SECONDS ends. Calls that block for long must not starve
the others, and calls that wait for one another must not deadlock. Two rules see to that:

- A call that waits for what others do (an item of a stream, text on a serial line) says so. It
  never queues, and does not count as busy.
- Any other call may block as well: a write reads from the caller's iterable. If a call has queued
  for STARVED_SECONDS and nothing has ended in that time, it gets a thread beyond the limit.

A process that is forked has none of these threads: it begins anew, without work.

Invariant: the fields of `Threads` are read and changed under its lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from virtmesh_client.channel import SCOPE, Scope

if TYPE_CHECKING:
    from collections.abc import Callable

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

THREADS = 16
"""Most busy threads, but for calls that wait for others, and calls that would starve."""
IDLE_SECONDS = 10.0
"""How long a thread stays without work."""
STARVED_SECONDS = 0.25
"""How long a call queues while nothing ends, before it gets a thread of its own."""
CANCEL_GRACE_SECONDS = 5.0
"""How long a cancelled operation may take to end; only a stuck local file takes longer."""


class Work(Generic[Result]):
    """One blocking call that has a thread, or queues for one."""

    def __init__(self, function: Callable[[], Result], *, waits: bool) -> None:
        self.waits = waits
        """True if it waits for what others do."""
        self.started = False
        self._function = function
        self._loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Result] = self._loop.create_future()

    def do(self) -> None:
        """Run the call on this thread, and hand its outcome to the event loop."""
        try:
            result = self._function()
        except StopIteration as error:
            # A future does not take it: it would end the coroutine that awaits the call.
            wrapped = RuntimeError("the awaited call raised StopIteration")
            wrapped.__cause__ = error
            self._settle(self.outcome.set_exception, wrapped)
        except BaseException as error:  # noqa: BLE001 - it is raised in the task
            self._settle(self.outcome.set_exception, error)
        else:
            self._settle(self.outcome.set_result, result)

    def _settle(self, setter: Callable[[Any], object], value: object) -> None:
        def put() -> None:
            if not self.outcome.done():
                setter(value)

        # The loop may be closed by the time an abandoned call ends.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(put)


class Threads:
    """Daemon threads, so that a call that never ends does not keep the process from ending."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start with no thread and no work, also in a process that was just forked."""
        self._change = threading.Condition()
        self._queue: deque[Work[Any]] = deque()
        self._granted: deque[Work[Any]] = deque()
        """Work that an idle thread takes now."""
        self._idle = 0
        self._busy = 0
        self._last_end = 0.0

    @property
    def idle(self) -> int:
        """How many threads have no work."""
        with self._change:
            return self._idle

    @property
    def busy(self) -> int:
        """How many threads have work that does not wait for others."""
        with self._change:
            return self._busy

    def submit(self, work: Work[Any]) -> None:
        """Start work, or let it queue. Errors: RuntimeError if the thread for it can't start."""
        with self._change:
            if work.waits or self._busy < THREADS:
                self._start(work)
            else:
                self._queue.append(work)

    def withdraw(self, work: Work[Any]) -> bool:
        """Take work back that has not started; False if it has."""
        with self._change:
            if not work.started:
                self._queue.remove(work)
            return not work.started

    def help(self, work: Work[Any]) -> None:
        """Start work that still queues, unless other work has ended lately.

        It goes on queuing if no thread can start.
        """
        with self._change:
            starves = time.monotonic() - self._last_end >= STARVED_SECONDS
            if starves and not work.started:
                with contextlib.suppress(RuntimeError):
                    self._start(work)
                    self._queue.remove(work)

    def _start(self, work: Work[Any]) -> None:
        """Give work to an idle thread, or to a new one. Errors: RuntimeError if none can start."""
        if self._idle > len(self._granted):
            self._granted.append(work)
            self._change.notify()
        else:
            threading.Thread(
                target=self._run, args=(work,), name="virtmesh-client", daemon=True
            ).start()
        work.started = True
        self._busy += not work.waits

    def _run(self, work: Work[Any] | None) -> None:
        """Do one piece of work after the other."""
        while work is not None:
            work.do()
            work = self._next(work)

    def _next(self, done: Work[Any]) -> Work[Any] | None:
        """Return what to do after `done`; None when there has been nothing for a while."""
        with self._change:
            self._busy -= not done.waits
            self._last_end = time.monotonic()
            if self._queue and self._busy < THREADS:
                work = self._queue.popleft()
                work.started = True
                self._busy += not work.waits
                return work
            self._idle += 1
            self._change.wait_for(lambda: self._granted, IDLE_SECONDS)
            self._idle -= 1
            return self._granted.popleft() if self._granted else None


SHARED = Threads()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=SHARED.begin)


async def run(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Run a blocking operation on a shared thread; cancelling it cancels its calls."""
    return await run_in(Scope(), partial(function, *args, **kwargs))


async def run_in(scope: Scope, step: Callable[[], Result], *, waits: bool = False) -> Result:
    """Run one step of an operation whose calls belong to `scope`.

    `waits` says that the step waits for what others do. A cancelled step that has not started never
    starts; one that has is over, with its calls, before this raises CancelledError.
    """
    context = contextvars.copy_context()
    context.run(SCOPE.set, scope)
    work = Work(partial(context.run, step), waits=waits)
    SHARED.submit(work)
    try:
        while not work.started:
            await asyncio.wait([work.outcome], timeout=STARVED_SECONDS)
            SHARED.help(work)
        return await asyncio.shield(work.outcome)
    except asyncio.CancelledError:
        scope.cancel()
        if SHARED.withdraw(work):
            raise
        await asyncio.wait([work.outcome], timeout=CANCEL_GRACE_SECONDS)
        if work.outcome.done():
            work.outcome.exception()  # seen: a cancelled task raises CancelledError, not this
        raise
