"""The thread that runs the CPU.

Invariant: one thread, the engine's, uses the board: it runs the guest, and between two runs it
executes the functions that others hand over with `call`. Others only ever kick the board, which
ends a run soon. So no lock is held while the guest runs, and nobody sees the board in the middle of
a run. What happens is told to the event loop; nothing is decided there that the next instruction
depends on, save the restart of the guest.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import structlog

from virtmesh_common.errors import NoAnswer, ShuttingDown
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_native import Board, Exit

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
Logged = tuple[int, int, int, int, int, int]
"""An access of the guest: slot, pc, offset, op, value, time in ns (virtmesh_native.Board)."""

Marked = tuple[int, int, int, int]
"""An access of a request that broke a rule: pc, offset, op, value (Board.marks)."""
Broken = tuple[int | None, str, str, int, int, int, int, int, int, int | None]
"""Slot, reason, message, count; of the first time pc, offset, op, value, time in ns, number."""

CALL_SECONDS = 12.0
"""How long a run may take to end: a device that does not answer is lost after 10 s."""
JOIN_SECONDS = 5.0
"""How long the thread may take to end."""


@dataclass(frozen=True)
class Ended:
    """A run that ended, and not because somebody kicked."""

    kind: str
    pc: int
    slot: int = 0
    code: int = 0
    address: int = 0
    message: str = ""
    """Why a slot is lost."""


class Engine:
    """Runs a board (virtmesh_native.Board). `ended` is called on the event loop.

    It begins stopped. `close` ends the thread.
    """

    def __init__(self, board: Board, ended: Callable[[Ended], None]) -> None:
        self._board = board
        self._told = ended
        self._loop = asyncio.get_running_loop()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._running = False
        self._lost: set[int] = set()
        """Slots that the guest has touched while nothing was connected. The thread's own."""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="virtmesh-hart", daemon=True)
        self._thread.start()

    async def call(self, function: Callable[[Board], Result]) -> Result:
        """Execute a function of the board between two runs, and return its result.

        Errors: those of the function; NoAnswer when the run does not end, since a device does not
        answer; ShuttingDown.
        """
        if self._closed:
            raise ShuttingDown("the CPU service is stopping")
        future: asyncio.Future[Result] = self._loop.create_future()

        def execute() -> None:
            if future.cancelled():
                return
            try:
                result = function(self._board)
            except Exception as error:  # noqa: BLE001 - it is the caller's
                self._post(_fail, future, error)
            except BaseException as error:  # noqa: BLE001 - a panic: see `_run`
                self._fault(error)
                self._post(_fail, future, RuntimeError(f"a fault of the CPU: {error}"))
            else:
                self._post(_finish, future, result)

        self._calls.put(execute)
        self._board.kick()
        try:
            async with time_limit(CALL_SECONDS):
                return await future
        except TimeoutError:
            raise NoAnswer(
                f"the CPU did not stop within {CALL_SECONDS:g} s: a device does not answer it"
            ) from None

    async def go(self) -> None:
        """Let the guest run. Errors: as of `call`."""
        await self.call(lambda _board: self._set_running(running=True))

    async def halt(self) -> int:
        """Stop the guest between two instructions; returns the program counter."""

        def halt(board: Board) -> int:
            self._running = False
            return board.registers()["pc"]

        return await self.call(halt)

    async def step(self, count: int, *, interrupts: bool = True) -> Exit:
        """Execute instructions; without `interrupts` they stay pending meanwhile.

        Errors: as of `call`, if the guest sleeps for long.
        """

        def step(board: Board) -> Exit:
            left = count
            while True:
                before = board.stats()["steps"]
                end = board.step(left, interrupts=interrupts)
                left -= board.stats()["steps"] - before
                # The kick that made the board listen to this call does not end it; the next does.
                if end.kind != "kick" or left <= 0 or self._closed or not self._calls.empty():
                    return end

        return await self.call(step)

    async def connect(self, slot: int, channel: int, line: int, kicks: list[int]) -> None:
        """Connect a slot to its device; a guest that waits for it goes on. Errors: as of `call`."""

        def connect(board: Board) -> None:
            board.connect(slot, channel, line, kicks)
            self._lost.discard(slot)

        await self.call(connect)

    async def disconnect(self, slot: int, *, absent: bool) -> None:
        """Disconnect a slot. An absent one reads as 0; at any other the guest waits."""

        def disconnect(board: Board) -> None:
            board.disconnect(slot, absent=absent)
            if absent:
                self._lost.discard(slot)

        await self.call(disconnect)

    def stats(self) -> dict[str, int]:
        """Return the counters of the board, now."""
        counted: dict[str, int] = self._board.stats()
        return counted

    def drain_accesses(self) -> list[Logged]:
        """Return the accesses that were logged since the last call, and forget them."""
        found: list[Logged] = self._board.drain_accesses()
        return found

    def violations(self) -> list[Broken]:
        """Return what the guest did wrong at the board (virtmesh_native.Board.violations)."""
        found: list[Broken] = self._board.violations()
        return found

    def marks(self, slot: int) -> dict[int, list[Marked]]:
        """Return the accesses of each request that broke a rule, by its tag."""
        return dict(self._board.marks(slot))

    async def close(self) -> None:
        """End the thread. Errors: none; a thread that a device holds is left behind."""
        self._closed = True
        self._calls.put(lambda: None)
        self._board.kick()
        await asyncio.to_thread(self._thread.join, JOIN_SECONDS)

    def _set_running(self, *, running: bool) -> None:
        self._running = running

    def _run(self) -> None:
        """Execute calls, and run the guest in between, until closed."""
        while not self._closed:
            self._serve_calls()
            if not self._running or self._lost or self._closed:
                continue
            try:
                self._note(self._board.run())
            except BaseException as error:  # noqa: BLE001 - a panic of native code is no Exception
                self._fault(error)

    def _fault(self, error: BaseException) -> None:
        """Stop the guest, and tell that this service has failed."""
        log.error("a fault of the CPU", exc_info=error)
        self._running = False
        self._tell(Ended("fault", 0))

    def _serve_calls(self) -> None:
        """Execute what others have handed over. Wait for more while the guest does not run."""
        waiting = not self._running or bool(self._lost)
        while True:
            try:
                function = self._calls.get(block=waiting)
            except queue.Empty:
                return
            function()
            waiting = False

    def _note(self, end: Exit) -> None:
        """Note why a run ended, and tell."""
        if end.kind in {"kick", "budget"}:
            return
        if end.kind == "lost":
            self._lost.add(end.slot or 0)
        else:
            self._running = False
        self._tell(Ended(end.kind, end.pc, end.slot or 0, end.code, end.address or 0, end.message))

    def _tell(self, ended: Ended) -> None:
        self._post(self._told, ended)

    def _post(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function on the event loop, unless that is closed already."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            self._closed = True


def _finish(future: asyncio.Future[Result], result: Result) -> None:
    """Set the result of a future that somebody still waits for."""
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Result], error: Exception) -> None:
    """Set the error of a future that somebody still waits for."""
    if not future.done():
        future.set_exception(error)
