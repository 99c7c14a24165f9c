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

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc.aio

LOOPBACK = ("ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D")
"""Peers of this host."""


def client_key(context: grpc.aio.ServicerContext[Any, Any], request_id: str, name: str = "") -> str:
    """Return what the budgets of a call count by. `name` is that of its certificate or token."""
    if name:
        return f"name:{name}"
    peer: str = context.peer()
    if peer.startswith("unix"):
        return f"unix:{request_id}"
    if peer.startswith(LOOPBACK):
        return peer
    return peer.rpartition(":")[0]
