"""One grpc.aio server for each kind of listener: gRPC does not tell a call by which it came."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio

from virtmesh.rpc.budget_interceptor import BudgetInterceptor
from virtmesh.rpc.doors import CertificateDoor, PlainDoor, SocketDoor, TokenDoor
from virtmesh.rpc.gate import Gate
from virtmesh.rpc.interceptor import CallInterceptor
from virtmesh.rpc.locks import Entrance
from virtmesh_common.channel import server_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from virtmesh.rpc.audit import Audit
    from virtmesh.rpc.budgets import Budgets
    from virtmesh.rpc.credentials import Credentials
    from virtmesh.rpc.doors import Door
    from virtmesh.rpc.locks import Listener
    from virtmesh.rpc.metrics import CallCounts
    from virtmesh_common.security.roles import Access, Role

DESCRIPTORS_WANTED = 8192
"""Descriptors that a process should have for its connections, and for all else beside them."""


@dataclass(frozen=True)
class Shared:
    """What all wings of a server have in common."""

    interceptors: Sequence[grpc.aio.ServerInterceptor]
    audit: Audit
    counts: CallCounts
    table: Mapping[str, Access]
    keepalive: float
    budgets: Budgets


class Wing:
    """The listeners that have one way in, and the server that takes their calls."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        credentials: Credentials | None,
        shared: Shared,
    ) -> None:
        first = listeners[0]
        self.listeners = listeners
        self._secure: grpc.ServerCredentials | None = None
        if credentials is None or first.entrance in {Entrance.SOCKET, Entrance.PLAIN}:
            door: Door = PlainDoor() if first.entrance is Entrance.PLAIN else SocketDoor(first.role)
        elif first.entrance is Entrance.CERTIFICATES:
            door = CertificateDoor(credentials.clients)
            self._secure = credentials.of_server(certificates=True)
        else:
            door = TokenDoor(credentials.tokens)
            self._secure = credentials.of_server(certificates=False)
        self.gate = Gate(door, shared.audit, shared.table)
        places = (one.address for one in listeners)
        self.grpc = grpc.aio.server(
            options=server_options(
                places, keepalive=shared.keepalive, limits=shared.budgets.limits
            ),
            interceptors=(
                CallInterceptor(self.gate, shared.counts),
                BudgetInterceptor(shared.budgets),
                *shared.interceptors,
            ),
        )

    def add_port(self, address: str) -> int:
        """Listen at an address; return the port. Errors: RuntimeError."""
        if self._secure is None:
            return self.grpc.add_insecure_port(address)
        return self.grpc.add_secure_port(address, self._secure)


def allow_descriptors() -> None:
    """Let this process have DESCRIPTORS_WANTED, or as many as it may give itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft not in {hard, resource.RLIM_INFINITY} and soft < DESCRIPTORS_WANTED:
        wanted = DESCRIPTORS_WANTED
        wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Wings:
    """All of them. Services are added to this one as to one grpc.aio.Server.

    Errors: SecurityError for the credentials.
    """

    def __init__(
        self, listeners: Iterable[Listener], credentials: Credentials | None, shared: Shared
    ) -> None:
        groups: dict[tuple[Entrance, Role], list[Listener]] = {}
        for one in listeners:
            groups.setdefault((one.entrance, one.role), []).append(one)
        if any(not one.address.startswith("unix:") for group in groups.values() for one in group):
            allow_descriptors()
        self.all = [Wing(group, credentials, shared) for group in groups.values()]

    def of(self, listener: Listener) -> Wing:
        """Return the one that a listener belongs to."""
        return next(wing for wing in self.all if listener in wing.listeners)

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """Add handlers to each."""
        handlers = tuple(handlers)
        for wing in self.all:
            wing.grpc.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add the methods of a service to each."""
        for wing in self.all:
            wing.grpc.add_registered_method_handlers(service, handlers)
