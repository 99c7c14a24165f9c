"""Calls to one kernel. They raise the classes of virtmesh_common.errors; other threads can cancel.

Invariant: only the thread that makes a call waits for it. Any thread may call `Scope.cancel`. It
ends all calls of the scope at once, and also those that are made later.
"""

from __future__ import annotations

import contextlib
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

import grpc

from virtmesh_common.channel import DEVICE_KEY, open_sync_channel
from virtmesh_common.errors import DeviceLost, ServiceUnavailable, VirtmeshError, from_rpc_error
from virtmesh_common.request_id import REQUEST_ID_KEY, check_request_id, make_request_id

if TYPE_CHECKING:
    from collections.abc import Iterator

Response = TypeVar("Response")


class Cancellable(Protocol):
    """A call that a scope can cancel."""

    def cancel(self) -> object:
        """Cancel the call."""


class Scope:
    """The calls of one operation, which another thread can cancel together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: set[Cancellable] = set()
        self._cancelled = False

    def add(self, call: Cancellable) -> None:
        """Add a call. If the scope is cancelled already, cancel the call."""
        with self._lock:
            self._calls.add(call)
            cancelled = self._cancelled
        if cancelled:
            call.cancel()

    def remove(self, call: Cancellable) -> None:
        """Remove a call that has ended."""
        with self._lock:
            self._calls.discard(call)

    def cancel(self) -> None:
        """Cancel all calls of the scope, also later ones."""
        with self._lock:
            self._cancelled = True
            calls = list(self._calls)
        for call in calls:
            call.cancel()


SCOPE: ContextVar[Scope | None] = ContextVar("virtmesh_scope", default=None)


class KernelChannel:
    """A channel to the kernel at `address`.

    Errors: ValueError for an invalid address or request identifier.
    """

    def __init__(self, address: str, *, timeout: float | None = None, request_id: str = "") -> None:
        if request_id and not check_request_id(request_id):
            raise ValueError(
                f"{request_id!r} is not a request identifier: use 1 to 64 letters, digits or"
                " . _ : - characters"
            )
        self.address = address
        self.request_id = request_id or make_request_id()
        """Identifier of all calls of this channel in the logs of the services."""
        self.timeout = timeout
        """Limit for calls with a single response, in seconds. Streams have no limit."""
        self.grpc = open_sync_channel(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel. Running calls are cancelled."""
        self.grpc.close()

    def metadata(self, device: str = "") -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call. `device` makes the kernel forward it to that device."""
        identified = ((REQUEST_ID_KEY, self.request_id),)
        return (*identified, (DEVICE_KEY, device)) if device else identified

    def ask(
        self, method: grpc.UnaryUnaryMultiCallable[Any, Response], request: Any, device: str = ""
    ) -> Response:
        """Call a method with a single response. `device` makes the kernel forward the call to it.

        Errors: VirtmeshError and its subclasses.
        """
        with self.errors():
            call = method.future(request, timeout=self.timeout, metadata=self.metadata(device))
            with self.running(cast("Cancellable", call)):
                return call.result()

    @contextlib.contextmanager
    def running(self, call: Cancellable) -> Iterator[None]:
        """Cancel a call at the end of the body, also after Ctrl-C or an error."""
        scope = SCOPE.get()
        if scope is not None:
            scope.add(call)
        try:
            yield
        finally:
            call.cancel()
            if scope is not None:
                scope.remove(call)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Convert errors of gRPC in the body to the classes of virtmesh_common.errors."""
        try:
            yield
        except grpc.FutureCancelledError:
            raise VirtmeshError("the call was cancelled") from None
        except grpc.RpcError as failure:
            error = from_rpc_error(failure, self.address)
            if isinstance(error, ServiceUnavailable):
                error = self._explain(error)
            raise error from None

    def _explain(self, error: ServiceUnavailable) -> VirtmeshError:
        """Return an error that says who does not answer: the kernel, or a device behind it."""
        # The message of gRPC lists every attempt. The cause is at its end.
        address = error.metadata.get("address", self.address)
        cause = error.message.rpartition("error: ")[2]
        cause = cause.removeprefix(f"no service answers at {address}: ")
        if address != self.address:
            return DeviceLost(f"no device service answers at {address}: {cause}", address=address)
        return ServiceUnavailable(f"no service answers at {address}: {cause}", address=address)
