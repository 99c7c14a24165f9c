"""Calls to one kernel: errors as virtmesh's classes, and cancellable from another thread.

Invariant: whoever makes a call on a thread is the only one to wait for it; `Scope.cancel` may be
called from any thread, and makes every call of the scope, running or to come, end at once.
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
    """What a scope needs of a call."""

    def cancel(self) -> object:
        """End the call."""


class Scope:
    """The calls of one operation, so that another thread can cancel them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: set[Cancellable] = set()
        self._cancelled = False

    def add(self, call: Cancellable) -> None:
        """Take a call in; it is cancelled at once when the scope is."""
        with self._lock:
            self._calls.add(call)
            cancelled = self._cancelled
        if cancelled:
            call.cancel()

    def remove(self, call: Cancellable) -> None:
        """Let go of a call that ended."""
        with self._lock:
            self._calls.discard(call)

    def cancel(self) -> None:
        """Cancel every call of the scope."""
        with self._lock:
            self._cancelled = True
            calls = list(self._calls)
        for call in calls:
            call.cancel()


SCOPE: ContextVar[Scope | None] = ContextVar("virtmesh_scope", default=None)


class KernelChannel:
    """A channel to the kernel at `address`.

    Errors: ValueError for what is no address, and for what is no identifier of requests.
    """

    def __init__(self, address: str, *, timeout: float | None = None, request_id: str = "") -> None:
        if request_id and not check_request_id(request_id):
            raise ValueError(f"{request_id!r} is no identifier: 1 to 64 letters, digits or . _ : -")
        self.address = address
        self.request_id = request_id or make_request_id()
        """What all calls are called in the logs of the services."""
        self.timeout = timeout
        """Limit for calls that answer once, in seconds; streams have none."""
        self.grpc = open_sync_channel(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; calls that run are cancelled."""
        self.grpc.close()

    def metadata(self, device: str = "") -> tuple[tuple[str, str], ...]:
        """Return what a call carries; `device` routes it to that device's own service."""
        identified = ((REQUEST_ID_KEY, self.request_id),)
        return (*identified, (DEVICE_KEY, device)) if device else identified

    def ask(
        self, method: grpc.UnaryUnaryMultiCallable[Any, Response], request: Any, device: str = ""
    ) -> Response:
        """Call a method that answers once; `device` routes it to that device's own service."""
        with self.errors():
            call = method.future(request, timeout=self.timeout, metadata=self.metadata(device))
            with self.running(cast("Cancellable", call)):
                return call.result()

    @contextlib.contextmanager
    def running(self, call: Cancellable) -> Iterator[None]:
        """Own a call: whatever happens inside (Ctrl-C, an error), the call is over at the end."""
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
        """Raise what gRPC raises inside as the class that the service meant."""
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
        """Say who does not answer: the kernel, or a device that it forwards calls to."""
        # gRPC tells the story of every attempt; the last word of it is the cause.
        address = error.metadata.get("address", self.address)
        cause = error.message.rpartition("error: ")[2]
        cause = cause.removeprefix(f"no service answers at {address}: ")
        if address != self.address:
            return DeviceLost(f"no device service answers at {address}: {cause}", address=address)
        return ServiceUnavailable(f"no service answers at {address}: {cause}", address=address)
