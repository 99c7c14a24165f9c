"""Where a kernel service takes files (virtmesh.kernel.v1, file_handover.proto)."""

from __future__ import annotations

UNIX = "unix:"
FILES = ".files"
"""Ends the path of the socket; before it comes that of the kernel service."""


def file_socket(address: str) -> str | None:
    """Return the path of the socket of the kernel service at an address; None: it has none."""
    return address.removeprefix(UNIX) + FILES if address.startswith(UNIX) else None
