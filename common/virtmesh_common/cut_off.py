"""Ends a connection at once, whatever waits to be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import WriteTransport


def cut_off(transport: WriteTransport) -> None:
    """Abort a transport of asyncio, also one that was closed or has lost its peer.

    In Python before 3.11.5, a transport of TLS that was closed twice no longer knows its connection
    and raises AttributeError. That connection is lost, or ends by the time limit of its shutdown.
    """
    try:
        transport.abort()
    except AttributeError:
        if not transport.is_closing():
            raise
