"""A channel of gRPC that may be closed while other threads use it.

gRPC ends the process by SIGSEGV when a stub is made of a channel that is closed: it takes the
name of the method to a channel that is there no more.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

import grpc

from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable


class ClosableChannel(grpc.Channel):
    """A channel that refuses what is made of it after its end.

    Errors of the methods that make something: VirtmeshError when it is closed.
    """

    def __init__(self, inner: grpc.Channel, address: str) -> None:
        self._inner = inner
        self._address = address
        self._lock = threading.Lock()
        """Held while something is made of the channel, so that it does not end meanwhile. Not held
        while it ends: its threads may run callbacks then, which make something in their turn."""
        self.is_closed = False

    def closed(self) -> VirtmeshError:
        """Return the error of whoever comes after the end."""
        return VirtmeshError(f"the connection to {self._address} is closed: connect again")

    def _make(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        with self._lock:
            if self.is_closed:
                raise self.closed()
            return method(*args, **options)

    def unary_unary(self, *args: Any, **options: Any) -> Any:
        """See grpc.Channel."""
        return self._make(self._inner.unary_unary, *args, **options)

    def unary_stream(self, *args: Any, **options: Any) -> Any:
        """See grpc.Channel."""
        return self._make(self._inner.unary_stream, *args, **options)

    def stream_unary(self, *args: Any, **options: Any) -> Any:
        """See grpc.Channel."""
        return self._make(self._inner.stream_unary, *args, **options)

    def stream_stream(self, *args: Any, **options: Any) -> Any:
        """See grpc.Channel."""
        return self._make(self._inner.stream_stream, *args, **options)

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:  # noqa: FBT001, FBT002 - gRPC's
        """See grpc.Channel."""
        self._make(self._inner.subscribe, callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        """See grpc.Channel."""
        self._inner.unsubscribe(callback)

    def close(self) -> None:
        """Cancel what runs, and close it."""
        with self._lock:
            self.is_closed = True
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
