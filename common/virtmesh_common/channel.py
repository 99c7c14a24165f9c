"""Addresses and tuned gRPC channels and servers, for services and clients alike."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from virtmesh_common.limits import Limits
from virtmesh_common.proxy import is_local

if TYPE_CHECKING:
    from collections.abc import Iterable

    Options = tuple[tuple[str, int], ...]

MESSAGE_LIMIT_BYTES = 2 << 20
"""Largest message a channel or server takes: a chunk of data and room for the rest."""
SESSION_KEY = "virtmesh-session"
"""Request metadata: the session of the attached driver."""
DEVICE_KEY = "virtmesh-device"
"""Request metadata to a kernel: the device that a forwarded call is for."""
IPV6 = r"[0-9a-fA-F:.]+(?:%[\w.-]+)?"
"""An IPv6 address: it may end like an IPv4 one, and a link-local one has a zone (fe80::1%eth0)."""
UNIX_PATH_LIMIT = 107
"""Longest path of a unix socket, in bytes (sockaddr_un)."""

WAITING_CALLS = 1 << 13
"""Calls, most of them given up, that may wait in gRPC until a server takes them up: each takes 14
KiB. It refuses some of those above, and all above a third more."""

KEEPALIVE_SECONDS = 15.0
"""Over TCP, a client with a call under way pings a silent server after this time, and a server
pings a silent client."""
KEEPALIVE_ANSWER_SECONDS = 10.0
"""How long the answer to such a ping may take. After that, all calls of the connection end."""
PING_INTERVAL_SECONDS = 10.0
"""The least time between pings that every client may count on. Servers count a ping as too early
after half of it, since pings that are sent in time may come closer together."""

CHANNEL_OPTIONS: Options = (
    ("grpc.minimal_stack", 1),
    ("grpc.enable_retries", 0),
    # A new channel connects at once, instead of sharing the backoff of one that failed before.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
SERVER_OPTIONS: Options = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.so_reuseport", 0),
)


def channel_options(
    address: str, *, proxy: bool = False, keepalive: float = KEEPALIVE_SECONDS
) -> Options:
    """Return the options of a channel to an address; see `open_sync_channel`."""
    options = CHANNEL_OPTIONS
    if not proxy or is_local(address):
        options += (("grpc.enable_http_proxy", 0),)
    if not address.startswith("unix:") and keepalive > 0:
        options += (
            *_keepalive(keepalive),
            # By default gRPC sends two pings on a silent stream, and then one each minute.
            ("grpc.http2.max_pings_without_data", 0),
        )
    return options


def server_options(
    addresses: Iterable[str],
    *,
    keepalive: float = KEEPALIVE_SECONDS,
    limits: Limits | None = None,
) -> Options:
    """Return the options of a server at some addresses.

    A server with a TCP address pings a client that is silent for `keepalive` seconds; 0: it does
    not. On a unix socket a peer can't vanish without a word, and one that a debugger stops must not
    be cut off. A client may send a ping each PING_INTERVAL_SECONDS, with a call under way or
    without, and as often as the server itself.
    """
    ping_interval = min(keepalive, PING_INTERVAL_SECONDS) if keepalive else PING_INTERVAL_SECONDS
    options = (
        *SERVER_OPTIONS,
        *_bounds(limits or Limits()),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", round(ping_interval * 1000 / 2)),
    )
    if keepalive and any(not address.startswith("unix:") for address in addresses):
        options += (*_keepalive(keepalive), ("grpc.http2.max_pings_without_data", 0))
    return options


def _bounds(limits: Limits) -> Options:
    """Return the options that bound what gRPC itself holds for clients.

    A call that its client has given up counts on its connection until the service has taken it up
    and seen that; so what waits is bounded for each connection, and the bound over all connections,
    at which gRPC refuses calls of anybody, is out of reach.
    """
    return (
        ("grpc.max_concurrent_streams", limits.calls_per_connection),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.server_handshake_timeout_ms", limits.handshake_seconds * 1000),
        # Windows that follow the speed of a connection grow to 4 MiB for each stream, which gRPC
        # keeps for the service. A message that the service waits for has its room all the same.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.server.max_pending_requests", WAITING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", WAITING_CALLS * 4 // 3),
    )


def _keepalive(seconds: float) -> Options:
    """Return the options of keepalive. For a short interval the answer is due sooner, too."""
    answer = min(KEEPALIVE_ANSWER_SECONDS, seconds)
    return (
        ("grpc.keepalive_time_ms", round(seconds * 1000)),
        ("grpc.keepalive_timeout_ms", round(answer * 1000)),
        # Without this, a ping without an answer counts for a minute (of gRPC 1.85, a server's).
        ("grpc.http2.ping_timeout_ms", round(answer * 1000)),
    )


def check_address(address: str) -> str:
    """Return the address gRPC understands for `unix:PATH` or `HOST:PORT`.

    Errors: ValueError, with the mend, for anything else.
    """
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        if not path:
            raise ValueError(f"{address!r} names no socket: write unix:PATH")
        absolute = str(Path(path).absolute())
        if len(os.fsencode(absolute)) > UNIX_PATH_LIMIT:
            raise ValueError(
                f"the socket path {absolute} is longer than {UNIX_PATH_LIMIT} bytes:"
                " choose a shorter folder"
            )
        return f"unix:{absolute}"
    if "vmt_" in address or "@" in address:  # it is not repeated: logs would keep it
        raise ValueError("a token or a name does not belong in an address: write HOST:PORT")
    match = re.fullmatch(rf"(?P<host>\[{IPV6}\]|[^:/\s]+):(?P<port>\d{{1,5}})", address)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"{address!r} is no address: write unix:PATH or HOST:PORT")
    return address


def open_channel(
    address: str, *, proxy: bool = False, keepalive: float = KEEPALIVE_SECONDS
) -> grpc.aio.Channel:
    """Open an asyncio channel, as `open_sync_channel` does. Errors: ValueError."""
    address = check_address(address)
    options = channel_options(address, proxy=proxy, keepalive=keepalive)
    return grpc.aio.insecure_channel(address, options=options)


def open_sync_channel(
    address: str,
    *,
    proxy: bool = False,
    keepalive: float = KEEPALIVE_SECONDS,
    credentials: grpc.ChannelCredentials | None = None,
    server_name: str = "",
) -> grpc.Channel:
    """Open a blocking channel; it connects at the first call. Errors: ValueError.

    With `proxy`, a host that is not this one is reached through the proxy that the environment
    names (virtmesh_common.proxy). Without it, and on this host, the environment does not matter.
    `keepalive` is the interval of pings over TCP, in seconds; 0: none. With `credentials` it is
    TLS; `server_name` is the name in the server's certificate, where the address has another.
    """
    address = check_address(address)
    options = channel_options(address, proxy=proxy, keepalive=keepalive)
    if credentials is None:
        return grpc.insecure_channel(address, options=options)
    named = (("grpc.ssl_target_name_override", server_name),) if server_name else ()
    return grpc.secure_channel(address, credentials, options=(*options, *named))


def make_server() -> grpc.aio.Server:
    """Make an asyncio server with the project's limits; the caller adds services and ports."""
    return grpc.aio.server(options=server_options(("localhost:0",)))
