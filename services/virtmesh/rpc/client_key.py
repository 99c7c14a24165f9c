"""Who a client is, for budgets: which calls count together.

Measured with gRPC 1.85: `context.peer()` is address and port of a TCP connection, and "unix:" for
every connection to a unix socket. So a client is, in this order:

- the name in its certificate or token (virtmesh.rpc.caller);
- the other host, for TCP from outside; the connection, for TCP on this host;
- on a unix socket, the request identifier that the client sends. The client library sends one for
  each connection, and a kernel passes on those of its clients. It is a hint: who lies about it is
  told apart from others, and not bounded by what one client may have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.rpc.doors import LOOPBACK_PEERS
from virtmesh_common.security.identity import IdentityKind

if TYPE_CHECKING:
    from virtmesh.rpc.caller import Caller

NAMED = frozenset((IdentityKind.CERTIFICATE, IdentityKind.TOKEN))
"""Identities whose name nobody else can have."""
SOCKETS = "-socket"
"""Ends the first part of the key of a client at a unix socket: its name is what it says."""


def client_key(caller: Caller, request_id: str) -> str:
    """Return what the budgets of a call count by."""
    identity, peer = caller.identity, caller.peer
    if identity.kind in NAMED:
        return f"name:{identity.name}"
    if identity.kind is IdentityKind.SOCKET:
        return f"{identity.role}{SOCKETS}:{request_id}"
    if peer.startswith(LOOPBACK_PEERS):
        return peer
    return peer.rpartition(":")[0]


def way_of(client: str) -> str:
    """Return how a client comes, by its key: name, ipv4, ipv6, or the socket of a role."""
    return client.partition(":")[0]
