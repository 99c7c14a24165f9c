"""Serves /metrics over HTTP to strangers: bounded connections, bytes and time, on a thread.

The thread has an event loop of its own, so that no peer delays the service. The service's event
loop only makes a page (virtmesh.scraping.page), once for all who wait for one.

When all places are taken, the peer that has been silent or slow for longest loses its own: a
thousand silent connections keep nobody out. Where none is, the next one waits.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from virtmesh.rpc.allowance import Allowance
from virtmesh.rpc.locks import NO_LOCKS, Entrance, Locks
from virtmesh.scraping.connection import (
    LEFT,
    PATIENCE_SECONDS,
    SILENT,
    SLOW,
    Connection,
    Cut,
)
from virtmesh.scraping.listener import Listener, find_place
from virtmesh.scraping.routes import EXPOSITION, Answer, refusal, route
from virtmesh.telemetry.definitions import counter, gauge
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterable
    from concurrent.futures import Future

    import h11
    from prometheus_client import Metric

    from virtmesh.rpc.locks import Listener as Place
    from virtmesh.scraping.guard import Guard

log = structlog.get_logger(__name__)

CONNECTIONS_MAX = 32
"""Most connections at the same time."""
ACCEPTED_PER_SECOND, ACCEPTED_AT_ONCE = 50.0, 64.0
"""How fast connections are accepted: those above it wait in the backlog of the socket. Each costs
what a short call costs, and takes it from the service."""
PAGE_SECONDS = 5.0
"""How long a page may take to be made."""
NO_DESCRIPTOR_SECONDS = 0.2
"""Pause after a connection could not be accepted, since the process has no descriptor left."""
EVICTED = "evicted"

OPEN = gauge(
    "virtmesh_metrics_connections", "Connections to /metrics that are open.", "connections"
)
CUT_OFF = counter(
    "virtmesh_metrics_connections_cut_off",
    "Connections to /metrics that ended early. `reason` is silent (no request in time), slow (the"
    " answer was not read in time), left (the peer went) or evicted (another needed the place).",
    "connections",
    "reason",
)
SERVED = counter("virtmesh_metrics_answers", "Requests of /metrics answered.", "answers")


class MetricsServer:
    """The HTTP server of one page. `close` ends it."""

    def __init__(
        self,
        address: str,
        page: Callable[[], Coroutine[None, None, bytes]],
        locks: Locks = NO_LOCKS,
    ) -> None:
        """Serve what `page` makes on the event loop that runs now; port 0 means any.

        Errors: ValueError for an invalid address; AddressTaken if it can't be listened at;
        Unprotected for one that others reach, without a security folder; other SecurityErrors.
        """
        place = find_place(address, locks)
        self._guard = open_guard(place, locks)
        try:
            self._listener = Listener(address)
        except Exception:
            if self._guard:
                self._guard.close()
            raise
        self.address = self._listener.address
        """Where the page is: HOST:PORT, or unix:PATH."""
        self._page = page
        self._open_to_anyone = place.is_open
        self._service = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._open: dict[Connection, asyncio.Task[None]] = {}
        """Oldest first."""
        self._cut_off = Counter(dict.fromkeys((SILENT, SLOW, LEFT, EVICTED), 0))
        self._answers = 0
        self._freed = asyncio.Event()
        """A connection has ended."""
        self._making: asyncio.Future[bytes] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        """Those of connections, and of those that are being cut off."""
        self._serving = self._loop.create_task(self._serve_all())
        self._thread = threading.Thread(target=self._run, name="metrics-http", daemon=True)
        self._thread.start()

    def metrics(self) -> Iterable[Metric]:
        """Return what there is to say of the server itself."""
        yield OPEN.one(len(self._open))
        yield CUT_OFF.of(((reason,), count) for reason, count in self._cut_off.items())
        yield SERVED.one(self._answers)

    @property
    def warnings(self) -> list[str]:
        """What should not stay as it is: a line if the page is open to anyone."""
        about = f"{self.address}/metrics is open to anyone who reaches it (--insecure)"
        return [about] if self._open_to_anyone else []

    def close(self) -> None:
        """Stop serving; connections are cut off. Waits for the thread, which ends at once."""
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()

    def _run(self) -> None:
        """Run the thread's event loop until `close`."""
        try:
            with suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._serving)
        finally:
            self._listener.close()
            self._loop.close()
            if self._guard:
                self._guard.close()

    async def _serve_all(self) -> None:
        """Serve until cancelled; then cut everyone off."""
        try:
            await self._accept()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self) -> None:
        """Accept peers, as fast as is allowed."""
        allowance = Allowance(ACCEPTED_AT_ONCE, ACCEPTED_PER_SECOND)
        while True:
            try:
                peer = await self._next_peer()
            except OSError as error:
                log.warning("a scraper could not be accepted", why=str(error))
                await asyncio.sleep(NO_DESCRIPTOR_SECONDS)
                continue
            try:
                await self._make_room()
            except BaseException:
                peer.close()
                raise
            self._admit(peer)
            # Those who are in get a turn, however many others there are.
            allowance.take()
            await asyncio.sleep(allowance.wait_seconds())

    async def _next_peer(self) -> socket.socket:
        """Return the next peer. Errors: OSError.

        It is accepted when nothing is waited for any more: a cancellation loses none, as it would
        in `sock_accept`.
        """
        listening = self._listener.socket
        while True:
            with suppress(BlockingIOError):
                peer, _ = listening.accept()
                peer.setblocking(False)  # noqa: FBT003 - as socket has it
                return peer
            readable = asyncio.Event()
            self._loop.add_reader(listening, readable.set)
            try:
                await readable.wait()
            finally:
                self._loop.remove_reader(listening)

    async def _make_room(self) -> None:
        """Wait until there is a place: the one of whoever is silent or slow, if need be."""
        while len(self._open) >= CONNECTIONS_MAX:
            idle = next((one for one in self._open if one.is_idle()), None)
            if idle is not None:
                self._open.pop(idle).cancel()
                self._cut_off[EVICTED] += 1
                return
            self._freed.clear()
            with suppress(TimeoutError):
                async with time_limit(PATIENCE_SECONDS):
                    await self._freed.wait()

    def _admit(self, peer: socket.socket) -> None:
        """Give a peer a place."""
        connection = Connection(peer, self._guard)
        task = self._loop.create_task(self._serve(connection))
        self._open[connection] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before it begins runs nothing of its own.
        task.add_done_callback(lambda _: connection.close())

    async def _serve(self, connection: Connection) -> None:
        """Serve a connection to its end."""
        try:
            await connection.serve(self._answer)
            self._answers += 1
        except Cut as cut:
            self._cut_off[str(cut)] += 1
        except OSError:
            self._cut_off[LEFT] += 1
        finally:
            self._open.pop(connection, None)
            self._freed.set()

    async def _answer(self, request: h11.Request) -> Answer:
        """Return the answer to a request."""
        method, target = request.method.decode("ascii"), request.target.decode("latin-1")
        known = route(method, target)
        if known is not None:
            return known
        if self._making is None or self._making.done():
            self._making = asyncio.wrap_future(self._ask_service(), loop=self._loop)
        try:
            async with time_limit(PAGE_SECONDS):
                return Answer(200, await asyncio.shield(self._making), EXPOSITION)
        except TimeoutError:
            return refusal(503, "the service did not make the page in time")
        except Exception:
            log.exception("the page of metrics could not be made")
            return refusal(500, "the page could not be made: see the log of the service")

    def _ask_service(self) -> Future[bytes]:
        """Have the service make the page, on its own event loop."""
        making = self._page()
        try:
            return asyncio.run_coroutine_threadsafe(making, self._service)
        except RuntimeError:  # it is over
            making.close()
            raise


def open_guard(place: Place, locks: Locks) -> Guard | None:
    """Return what keeps a page on TCP, if there is a security folder. Errors: SecurityError."""
    if place.entrance is not Entrance.CERTIFICATES or locks.security is None:
        return None
    from virtmesh.scraping.guard import Guard  # noqa: PLC0415 - few need the cryptography

    return Guard(locks.security)
