"""Calls to one kernel. They raise the classes of virtmesh_common.errors; other threads can cancel.

Invariant: only the thread that makes a call waits for it. Any thread may call `Scope.cancel`. It
ends all calls of the scope at once, and also those that are made later.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

import grpc

from virtmesh_client.closable import ClosableChannel
from virtmesh_client.fork import keep_inherited
from virtmesh_client.patience import (
    DONE,
    UNSENT,
    Patience,
    Presence,
    may_repeat,
)
from virtmesh_client.security import handshake
from virtmesh_client.security.choice import choose
from virtmesh_common.channel import (
    DEVICE_KEY,
    KEEPALIVE_SECONDS,
    check_address,
    open_sync_channel,
)
from virtmesh_common.errors import (
    DeviceLost,
    ForkedConnection,
    NoAnswer,
    ServiceUnavailable,
    VirtmeshError,
    from_rpc_error,
)
from virtmesh_common.request_id import REQUEST_ID_KEY, check_request_id, make_request_id
from virtmesh_common.retry import RETRY_KEY, RETRY_SECONDS, check_retry, to_retry_ms
from virtmesh_common.security.errors import HandshakeFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from grpc import Channel, UnaryUnaryMultiCallable

    from virtmesh_client.security.credentials import Credentials

Response = TypeVar("Response")

ANSWER_SECONDS = 60.0
"""Default limit for a call that a service answers at once."""
STORAGE_SECONDS = 900.0
"""Default limit for a call that ends when storage has finished: a flush of gigabytes, a resize."""


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


class ChannelCondition(threading.Condition):
    """A condition of objects that use a channel. A forked child can't take it.

    A thread that the child lacks may have held it at the fork: the child would wait for ever.
    Errors: ForkedConnection.
    """

    def __init__(self, channel: KernelChannel) -> None:
        super().__init__()
        self._channel = channel

    def __enter__(self) -> bool:
        self._channel.check_process()
        return super().__enter__()


class KernelChannel:
    """A channel to the kernel at `address`; `connect` explains the options.

    A process that is forked can't use the channel of its parent: both would read from one socket.
    Errors: ValueError for an invalid address or request identifier; LoginNeeded, BadLogin.
    """

    def __init__(  # noqa: PLR0913 - each has a name
        self,
        address: str,
        *,
        timeout: float | None = None,
        request_id: str = "",
        proxy: bool = True,
        keepalive: float = KEEPALIVE_SECONDS,
        credentials: Credentials | None = None,
        insecure: bool = False,
        retry_for: float = RETRY_SECONDS,
    ) -> None:
        if request_id and not check_request_id(request_id):
            raise ValueError(
                f"{request_id!r} is not a request identifier: use 1 to 64 letters, digits or"
                " . _ : - characters"
            )
        self.address = address
        self.request_id = request_id or make_request_id()
        """Identifier of all calls of this channel in the logs of the services."""
        self.timeout = timeout
        """Limit for calls with a single response, in seconds; None: by the kind of the call.
        Streams have no limit."""
        self.retry_for = check_retry(retry_for)
        """How long calls and streams wait for a kernel service that was lost, in seconds."""
        self.credentials = choose(check_address(address), credentials, insecure=insecure)
        """What this client shows; None: a unix socket, or plaintext."""
        self._insecure = insecure
        shown = self.credentials
        keep_inherited()
        inner = open_sync_channel(
            address,
            proxy=proxy,
            keepalive=keepalive,
            credentials=shown.of_channel() if shown else None,
            server_name=shown.server_name if shown else "",
        )
        self._grpc = ClosableChannel(inner, address)
        self._metadata = (
            (REQUEST_ID_KEY, self.request_id),
            *(shown.metadata if shown else ()),
        )
        self._process = os.getpid()
        self.presence = Presence(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def grpc(self) -> Channel:
        """The channel of gRPC. What is made of it after its end is refused: VirtmeshError.

        Errors: ForkedConnection.
        """
        self.check_process()
        return self._grpc

    @property
    def forked(self) -> bool:
        """True in a child of the process that opened the channel."""
        return self._process != os.getpid()

    def check_process(self) -> None:
        """Refuse to work in a child of the process that opened the channel.

        Errors: ForkedConnection.
        """
        if self.forked:
            raise ForkedConnection(
                f"the connection to {self.address} belongs to process {self._process}, and this is"
                f" its fork {os.getpid()}: connect again in the child, or start it with"
                " multiprocessing's method 'spawn' or with subprocess",
                address=self.address,
            )

    def close(self) -> None:
        """Close the channel. Running calls are cancelled. In a forked child nothing happens."""
        if not self.forked:
            self._grpc.close()

    def patience(self, retry_for: float | None) -> float:
        """Return how long a call waits for what is away, in seconds; None: as this was told."""
        return self.retry_for if retry_for is None else retry_for

    def metadata(
        self, device: str = "", retry_for: float | None = None
    ) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call. `device` makes the kernel forward it to that device.

        `retry_for` is how long the kernel waits for that device, in seconds, if its process died.
        Errors: ForkedConnection.
        """
        self.check_process()
        if not device:
            return self._metadata
        wait = str(to_retry_ms(self.patience(retry_for)))
        return (*self._metadata, (DEVICE_KEY, device), (RETRY_KEY, wait))

    def ask(
        self,
        method: UnaryUnaryMultiCallable[Any, Response],
        request: Any,
        device: str = "",
        *,
        limit: float = ANSWER_SECONDS,
        retry_for: float | None = None,
    ) -> Response:
        """Call a method with a single response. `device` makes the kernel forward the call to it.

        `limit` is its time limit, in seconds, unless the channel has one. When the kernel service
        is lost, the call is repeated for `retry_for` seconds, if it may be (see patience.py).
        Errors: VirtmeshError and its subclasses; then "done" in its metadata is "no" or "unknown".
        """
        patience = Patience(self, retry_for)
        while True:
            try:
                return self._ask_once(method, request, device, limit, retry_for)
            except VirtmeshError as error:
                patience.bear(error, repeats=may_repeat(request))

    def _ask_once(
        self,
        method: UnaryUnaryMultiCallable[Any, Response],
        request: Any,
        device: str,
        limit: float,
        retry_for: float | None,
    ) -> Response:
        """Call a method once."""
        begun = time.monotonic()
        seconds = limit if self.timeout is None else self.timeout
        bound = None if math.isinf(seconds) else seconds
        with self.errors(seconds):
            call = method.future(request, timeout=bound, metadata=self.metadata(device, retry_for))
            with self.running(cast("Cancellable", call)):
                response = call.result()
        self.presence.note_answer(begun)
        return response

    def messages(self, call: Iterable[Response]) -> Iterator[Response]:
        """Return the messages of a stream. Errors: ForkedConnection; RpcError."""
        begun = time.monotonic()
        received = iter(call)
        while True:
            self.check_process()
            try:
                message = next(received)
            except StopIteration:
                return
            self.presence.note_answer(begun)
            yield message

    @contextlib.contextmanager
    def running(self, call: Cancellable) -> Iterator[None]:
        """Cancel a call at the end of the body, also after Ctrl-C or an error.

        Errors: ForkedConnection.
        """
        self.check_process()
        scope = SCOPE.get()
        if scope is not None:
            scope.add(call)
        try:
            yield
        finally:
            if not self.forked:  # The call is the parent's: it goes on there.
                call.cancel()
                if scope is not None:
                    scope.remove(call)

    @contextlib.contextmanager
    def errors(self, limit: float | None = None) -> Iterator[None]:
        """Convert errors of gRPC in the body to the classes of virtmesh_common.errors.

        `limit` is the time limit of the call, to be named in the error.
        """
        try:
            yield
        except grpc.FutureCancelledError:
            raise VirtmeshError("the call was cancelled") from None
        except ValueError:  # what gRPC says of a channel that was closed
            if self._grpc.is_closed:
                raise self._grpc.closed() from None
            raise
        except grpc.RpcError as failure:
            error = from_rpc_error(failure, self.address)
            if isinstance(error, ServiceUnavailable):
                error = self._explain(error)
            self.presence.note(error)
            if self.presence.is_loss(error):
                error.metadata[DONE] = "no" if is_unsent(failure) else "unknown"
            if isinstance(error, NoAnswer) and limit is not None:
                error.message = f"{error.message} (the time limit is {limit:g} s)"
                error.args = (error.message,)
            raise error from None

    def _explain(self, error: ServiceUnavailable) -> VirtmeshError:
        """Return an error that says who does not answer: the kernel, or a device behind it."""
        address = error.metadata.get("address", self.address)
        if address == self.address:
            return self._explain_handshake(error)
        cause = error.message.removeprefix(f"no service answers at {address}: ")
        return DeviceLost(f"no device service answers at {address}: {cause}", address=address)

    def _explain_handshake(self, error: ServiceUnavailable) -> VirtmeshError:
        """Return an error that says what is wrong with certificates, if it is that."""
        if self.address.startswith("unix:") or not handshake.SUSPECT.search(error.message):
            return error
        why = handshake.explain(self.address, self.credentials, insecure=self._insecure)
        if not why:
            return error
        return HandshakeFailed(f"no connection to {self.address}: {why}", address=self.address)


def is_unsent(failure: grpc.RpcError) -> bool:
    """Say whether a call has failed before it could leave: there was no connection."""
    return UNSENT in (cast("grpc.Call", failure).details() or "")
