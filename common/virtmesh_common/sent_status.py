"""Streams of grpc.aio that end with the status that their server sent, when a write fails.

A server that refuses a stream closes it while its client writes. The write fails then, and grpc.aio
ends the call with INTERNAL "Internal error from Core", a status of its own: why it was refused is
lost. The server's status is on its way, and comes after the messages that were sent before it.
"""

from __future__ import annotations

from typing import Any, TypeVar

Stream = TypeVar("Stream")


class Core:
    """Stands before the call of gRPC's core, for whoever writes to it."""

    __slots__ = ("_call",)

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def set_internal_error(self, text: str) -> None:
        """Do nothing: the write goes on to wait for the status."""


def keep_sent_status(stream: Stream) -> Stream:
    """Let a failed write of a new stream end with the server's status. Read the stream meanwhile.

    gRPC offers no way to do this. A stream of a gRPC that has changed inside stays as it is.
    """
    core = getattr(stream, "_cython_call", None)
    if core is not None:
        stream._cython_call = Core(core)  # type: ignore[attr-defined]  # noqa: SLF001
    return stream
