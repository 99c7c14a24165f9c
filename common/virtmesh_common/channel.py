"""Addresses and tuned gRPC channels and servers, for services and clients alike."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Scripts print what they print; gRPC reads this when it writes its first line.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc
import grpc.aio

MESSAGE_LIMIT_BYTES = 2 << 20
"""Largest message a channel or server takes: a chunk of data and room for the rest."""
CHUNK_LIMIT_BYTES = 1 << 20
"""Largest piece of data in one message of a stream."""
SESSION_KEY = "virtmesh-session"
"""Request metadata: the session of the attached driver."""
DEVICE_KEY = "virtmesh-device"
"""Request metadata to a kernel: the device that a forwarded call is for."""
UNIX_PATH_LIMIT = 107
"""Longest path of a unix socket, in bytes (sockaddr_un)."""

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.minimal_stack", 1),
    ("grpc.enable_retries", 0),
    # A new channel connects at once, instead of sharing the backoff of one that failed before.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.so_reuseport", 0),
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
    match = re.fullmatch(r"(?P<host>\[[0-9a-fA-F:]+\]|[^:/\s]+):(?P<port>\d{1,5})", address)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"{address!r} is no address: write unix:PATH or HOST:PORT")
    return address


def open_channel(address: str) -> grpc.aio.Channel:
    """Open an asyncio channel; it connects at the first call. Errors: ValueError."""
    return grpc.aio.insecure_channel(check_address(address), options=CHANNEL_OPTIONS)


def open_sync_channel(address: str) -> grpc.Channel:
    """Open a blocking channel; it connects at the first call. Errors: ValueError."""
    return grpc.insecure_channel(check_address(address), options=CHANNEL_OPTIONS)


def make_server() -> grpc.aio.Server:
    """Make an asyncio server with the project's limits; the caller adds services and ports."""
    return grpc.aio.server(options=SERVER_OPTIONS)
