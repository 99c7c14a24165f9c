"""A gRPC server from start to end: addresses, health, reflection, graceful shutdown.

The device services and the kernel service all use this class, each with services of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_common.channel import KEEPALIVE_SECONDS, check_address, server_options

import grpc.aio  # isort: skip
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from virtmesh.rpc.budget_interceptor import BudgetInterceptor
from virtmesh.rpc.budgets import Budgets
from virtmesh.rpc.interceptor import CallInterceptor
from virtmesh.rpc.reflection import Reflection, nothing
from virtmesh_common.errors import AddressTaken

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from virtmesh.rpc.reflection import Forwarded
    from virtmesh_common.limits import Limits

log = structlog.get_logger(__name__)

GRACE_SECONDS = 5.0
"""How long calls may take to finish once the service stops."""
SOCKET_UMASK = 0o117
"""Sockets get mode 0660: the owner and the group use a device, nobody else."""


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
        limits: Limits | None = None,
    ) -> None:
        """Prepare a server for `unix:PATH` and `HOST:PORT` addresses. Errors: ValueError.

        With a TCP address it pings silent clients each `keepalive` seconds; 0: it does not.
        """
        self._wanted = [check_address(address) for address in addresses]
        self._health = health.aio.HealthServicer()
        self._names: list[str] = []
        calls = CallInterceptor()
        self.budgets = Budgets(limits)
        """What its clients hold."""
        options = server_options(self._wanted, keepalive=keepalive, limits=self.budgets.limits)
        counting = BudgetInterceptor(self.budgets)
        self.grpc = grpc.aio.server(options=options, interceptors=(calls, counting, *interceptors))
        self.calls = calls.counts
        """Counters of its calls."""
        self.addresses: list[str] = []
        """Where the server listens, once it is started; ports are the actual ones."""

    async def start(self, names: Iterable[str], forwarded: Forwarded = nothing) -> None:
        """Listen and serve. `names` are the full names of the services that were added.

        `forwarded` returns the names of services that others serve behind this one, for reflection.

        Errors: AddressTaken.
        """
        self._names = [*names, health.SERVICE_NAME]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        Reflection(self._names, forwarded).add_to(self.grpc)
        for address in self._wanted:
            self.addresses.append(self._listen(address))
        await self.grpc.start()
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        log.info("serving", addresses=self.addresses)

    async def leave(self) -> None:
        """Set the health to NOT_SERVING: the service is about to stop."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Refuse new calls, and give those under way `grace` seconds to finish.

        gRPC removes the unix sockets of the server.
        """
        await self.leave()
        await self.grpc.stop(grace)

    def _listen(self, address: str) -> str:
        """Listen at one address; return it with the actual port."""
        path = socket_path(address)
        if path is not None:
            clear_stale_socket(path)
        before = os.umask(SOCKET_UMASK)
        try:
            port = self.grpc.add_insecure_port(address)
        except RuntimeError as error:
            raise AddressTaken(
                f"{address}: can't listen there: choose an address that is free, and allowed to you"
            ) from error
        finally:
            os.umask(before)
        return f"{address.rpartition(':')[0]}:{port}" if path is None else address


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
