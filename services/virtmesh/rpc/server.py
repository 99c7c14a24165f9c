"""A gRPC server from start to end: addresses, health, reflection, graceful shutdown.

The device services and the kernel service all use this class, each with services of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from virtmesh.rpc.audit import Audit
from virtmesh.rpc.budgets import Budgets
from virtmesh.rpc.locks import NO_LOCKS, Locks, warning_of
from virtmesh.rpc.metrics import CallCounts
from virtmesh.rpc.own_socket import OwnSocket
from virtmesh.rpc.reflection import Reflection, nothing
from virtmesh.rpc.strangers import take_no_descriptors_at
from virtmesh.rpc.wings import Shared, Wings
from virtmesh.telemetry.definitions import gauge
from virtmesh_common.channel import KEEPALIVE_SECONDS
from virtmesh_common.errors import AddressTaken
from virtmesh_common.limits import DEFAULTS, Limits
from virtmesh_common.security.roles import table_with

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    import grpc.aio
    from prometheus_client import Metric

    from virtmesh.rpc.credentials import Credentials
    from virtmesh.rpc.locks import Listener
    from virtmesh.rpc.reflection import Forwarded
    from virtmesh_common.security.roles import Access

log = structlog.get_logger(__name__)

GRACE_SECONDS = 5.0
"""How long calls may take to finish once the service stops."""
SOCKET_UMASK = 0o117
"""Sockets get mode 0660: the owner and the group use a device, nobody else."""
SWEEP_SECONDS = 1.0
"""How often streams of callers that count no more are looked for, where callers can be revoked."""
WARNING_SECONDS = 3600.0
"""How often the log says again that a listener is open to anyone."""
INSECURE = gauge(
    "virtmesh_insecure_listeners", "TCP listeners that anyone may call (--insecure).", "listeners"
)


@dataclass(frozen=True)
class Scope:
    """What a server serves, for its gates and budgets."""

    devices: Callable[[], Collection[str]] = tuple
    """Returns the names of its devices, for the audit."""
    access: Sequence[Access] = ()
    """Rows of services from other packages."""
    limits: Limits = DEFAULTS
    """What clients may have of it."""


NOTHING = Scope()


class Server:
    """One gRPC server.

    Add services to `grpc`, then call `start`, then `stop`. In between its health is SERVING.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        *,
        keepalive: float = KEEPALIVE_SECONDS,
        locks: Locks = NO_LOCKS,
        scope: Scope = NOTHING,
    ) -> None:
        """Prepare a server for `unix:PATH` and `HOST:PORT` addresses, and those of `locks`.

        With a TCP address it pings silent clients each `keepalive` seconds; 0: it does not.

        Errors: ValueError; Unprotected; other SecurityErrors for the security folder.
        """
        listeners = list(locks.listeners(addresses))
        self._health = health.aio.HealthServicer()
        self._names: list[str] = []
        self.budgets = Budgets(scope.limits)
        """What its clients hold."""
        self.calls = CallCounts()
        """Counters of its calls."""
        self._audit = Audit(scope.devices)
        self._credentials = open_credentials(locks)
        shared = Shared(
            interceptors,
            self._audit,
            self.calls,
            table_with(scope.access),
            keepalive,
            self.budgets,
        )
        self._wings = Wings(listeners, self._credentials, shared)
        self.grpc = cast("grpc.aio.Server", self._wings)
        """Takes the services; they are served by every listener."""
        self._order = listeners
        self._sockets: list[OwnSocket] = []
        self._sweeping: asyncio.Task[None] | None = None
        self.before_serving: Callable[[], None] | None = None
        """Called once it listens, before it takes any connection."""
        self.prepare: Callable[[], Awaitable[None]] | None = None
        """Awaited then, before it answers: who connects waits for so long."""
        self.addresses: list[str] = []
        """Where the server listens, once it is started; ports are the actual ones. Those of
        `addresses` come first, then those of the locks: for tokens, and for roles."""

    @property
    def warnings(self) -> list[str]:
        """What should not stay as it is: a line for each listener that is open to anyone."""
        return [warning_of(self._place(one)) for one in self._order if one.is_open]

    async def start(self, names: Iterable[str], forwarded: Forwarded = nothing) -> None:
        """Listen and serve. `names` are the full names of the services that were added.

        `forwarded` returns the names of services that others serve behind this one, for reflection.

        Errors: AddressTaken; SecurityError.
        """
        self._names = [*names, health.SERVICE_NAME]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        Reflection(self._names, forwarded).add_to(self.grpc)
        for listener in self._order:
            self.addresses.append(self._listen(listener))
        if self.before_serving is not None:
            self.before_serving()
        if self.prepare is not None:
            await self.prepare()
        for wing in self._wings.all:
            await wing.grpc.start()
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._sweeping = asyncio.create_task(self._sweep(), name="sweep")
        log.info("serving", addresses=self.addresses)

    async def leave(self) -> None:
        """Set the health to NOT_SERVING: the service is about to stop."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Refuse new calls, and give those under way `grace` seconds to finish.

        The paths of its unix sockets are removed, unless others have taken them meanwhile.
        """
        await self.leave()
        for own in self._sockets:
            if not own.remove():
                log.warning("another process has a socket there now: it stays", path=str(own.path))
        await asyncio.gather(*(wing.grpc.stop(grace) for wing in self._wings.all))
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping
        self._audit.flush()
        if self._credentials is not None:
            self._credentials.close()

    def metrics(self) -> Iterable[Metric]:
        """Return the metrics, read now."""
        yield from self.calls.metrics()
        yield from self.budgets.metrics()
        yield from self._audit.metrics()
        yield INSECURE.one(sum(one.is_open for one in self._order))

    async def _sweep(self) -> None:
        """End streams of callers that count no more, and say again what is open, for ever."""
        warned = -WARNING_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            for wing in self._wings.all:
                wing.gate.sweep()
            self._audit.tick()
            if loop.time() - warned >= WARNING_SECONDS:
                warned = loop.time()
                for text in self.warnings:
                    log.warning("insecure", about=text)
            await asyncio.sleep(self._rest_seconds())

    def _rest_seconds(self) -> float:
        """Return the pause between two sweeps.

        Without a security folder there is nobody to revoke: doors of sockets and of plain TCP
        refuse nobody later, and what is left to do is the audit's and the warnings'.
        """
        if self._credentials is not None:
            return SWEEP_SECONDS
        return max(SWEEP_SECONDS, min(self._audit.seconds_left, WARNING_SECONDS))

    def _listen(self, listener: Listener) -> str:
        """Listen at one address; return it with the actual port."""
        address = listener.address
        path = socket_path(address)
        own = None
        if path is not None:
            clear_stale_socket(path)
            own = OwnSocket(path)
            self._sockets.append(own)
        before = os.umask(0o777 & ~listener.mode)
        try:
            place = f"unix:{own.scratch}" if own else address
            port = self._wings.of(listener).add_port(place)
            if own is not None and listener.group is not None:
                os.chown(own.scratch, -1, listener.group, follow_symlinks=False)
        except RuntimeError as error:
            raise AddressTaken(
                f"{address}: can't listen there: choose an address that is free, and allowed to you"
            ) from error
        except OSError as error:
            raise AddressTaken(
                f"{address}: this user can't give a socket to group {listener.group}: choose one"
                " of its own groups"
            ) from error
        finally:
            os.umask(before)
        if own is not None:
            take_no_descriptors_at(own.scratch)
            own.publish()
        return f"{address.rpartition(':')[0]}:{port}" if path is None else address

    def _place(self, listener: Listener) -> str:
        """Return where a listener is, with the actual port once it is known."""
        index = self._order.index(listener)
        return self.addresses[index] if index < len(self.addresses) else listener.address


def open_credentials(locks: Locks) -> Credentials | None:
    """Open the security folder, if there is one. Errors: SecurityError."""
    if locks.security is None:
        return None
    from virtmesh.rpc.credentials import Credentials  # noqa: PLC0415 - few need the cryptography

    return Credentials(locks.security)


def socket_path(address: str) -> Path | None:
    """Return the path of a unix address, None for another one."""
    return Path(address.removeprefix("unix:")) if address.startswith("unix:") else None


def clear_stale_socket(path: Path, kind: int = socket.SOCK_STREAM) -> None:
    """Remove a socket that nobody listens on. Errors: AddressTaken."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise AddressTaken(f"{path}: no such folder: create {path.parent}") from None
        return
    if not stat.S_ISSOCK(mode):
        raise AddressTaken(f"{path} exists and is no socket: choose another path or remove it")
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            log.info("removing the socket of a service that does not run any more", path=str(path))
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise AddressTaken(f"{path}: can't connect: {os.strerror(error.errno or 0)}") from error
    raise AddressTaken(f"{path}: another service listens there: stop it or choose another path")


def catch_signals() -> asyncio.Future[signal.Signals]:
    """Return a future that is done when SIGTERM or SIGINT arrives.

    Call it before the service logs that it serves: who reads that may send a signal at once.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[signal.Signals] = loop.create_future()

    def note(number: signal.Signals) -> None:
        if not arrived.done():
            arrived.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, note, number)
    return arrived
