"""The runner's stream to the kernel service (GuestService.AttachGuest). It reconnects by itself.

It comes back to the same run of the machine alone: when the supervisor of that has ended, nobody
starts its kernel service anew, and what answers at its address is another machine.

Invariant: one thread opens the streams, one after the other, and reads them; a thread of gRPC takes
the requests from a queue. Neither waits for the owner of the link: what arrives is kept, bounded by
the windows of the protocol, and `handle` becomes readable. The owner calls `take` and `send` from
one thread, and never waits either.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, cast

from virtmesh_client.channel import ChannelCondition
from virtmesh_client.local import rundir
from virtmesh_common.api.kernel.v1 import guest_pb2 as pb
from virtmesh_common.api.kernel.v1.guest_pb2_grpc import GuestServiceStub
from virtmesh_common.errors import (
    ConsoleTaken,
    DeviceLost,
    GuestError,
    ServiceUnavailable,
    ShuttingDown,
    VirtmeshError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.channel import Cancellable, KernelChannel

RETRIED = (DeviceLost, ServiceUnavailable, ShuttingDown, ConsoleTaken)
"""Errors after which a link that was attached before attaches again."""
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 1.0
ATTACH_SECONDS = 30.0
"""How long the first attachment may take."""

News = pb.AttachGuestResponse | VirtmeshError
"""A message of the kernel service, `attached` at the begin of each stream, or the error that ended
a stream."""


class KernelLink:
    """A guest's serial port, as its runner has it. `describe` returns what to say of the guest."""

    def __init__(self, channel: KernelChannel, describe: Callable[[], pb.Guest]) -> None:
        self._channel = channel
        self._describe = describe
        self._machine = rundir.of_address(channel.address)
        """The run of the machine; None if no supervisor of this host runs it."""
        self._lock = ChannelCondition(channel)
        self._news: deque[News] = deque()
        self._requests: SimpleQueue[pb.AttachGuestRequest | None] | None = None
        self._call: Cancellable | None = None
        self._closed = self._ended = False
        self._serial = ""
        """Name of the serial port, after the first attachment."""
        self.handle, self._wake = os.pipe()
        for end in (self.handle, self._wake):
            os.set_blocking(end, False)
        self._thread = threading.Thread(target=self._run, name="virtmesh-guest-link", daemon=True)

    def open(self) -> str:
        """Attach. Returns the name of the serial port.

        Errors: of AttachGuest; ServiceUnavailable when that takes too long.
        """
        self._thread.start()
        with self._lock:
            self._lock.wait_for(lambda: self._serial or self._ended, ATTACH_SECONDS)
            if self._serial:
                return self._serial
            error = next((one for one in self._news if isinstance(one, VirtmeshError)), None)
        raise error or ServiceUnavailable(
            f"the kernel service at {self._channel.address} does not answer"
        )

    def take(self) -> list[News]:
        """Return what has arrived. Never waits."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.handle, 4096):
                pass
        with self._lock:
            news = list(self._news)
            self._news.clear()
        return news

    def send(self, message: pb.AttachGuestRequest) -> None:
        """Send a message; without a stream it is dropped. Never waits."""
        with self._lock:
            if self._requests is not None:
                self._requests.put(message)

    def nudge(self) -> None:
        """Make `handle` readable. Any thread may call this."""
        with self._lock:
            self._nudge()

    def close(self, seconds: float = 1.0) -> None:
        """Half-close, and wait a little for the kernel service to take the port back."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._requests is not None:
                self._requests.put(None)
            self._lock.notify_all()
            self._lock.wait_for(lambda: self._ended, seconds if self._call else 0)
            call = self._call
        if call is not None:
            call.cancel()
        if self._thread.ident is not None:
            self._thread.join()
        with self._lock:
            os.close(self.handle)
            os.close(self._wake)
            self._wake = -1

    def _run(self) -> None:
        """Open streams, one after the other, until the link is closed or refused."""
        delay = FIRST_DELAY_SECONDS
        while True:
            error, began = self._run_stream()
            with self._lock:
                self._requests = self._call = None
                ended = self._closed or not self._serial or not is_retried(error)
                if began or ended:
                    self._tell(error)
                if ended:
                    self._ended = True
                    self._lock.notify_all()
                    return
                delay = FIRST_DELAY_SECONDS if began else min(2 * delay, LONGEST_DELAY_SECONDS)
                self._lock.wait_for(lambda: self._closed, delay)
                if self._closed:
                    self._ended = True
                    self._lock.notify_all()
                    return

    def _run_stream(self) -> tuple[VirtmeshError, bool]:
        """Open a stream and read it to its end. Returns its error, and whether it was attached."""
        if self._is_over():
            return stopped(), False
        requests: SimpleQueue[pb.AttachGuestRequest | None] = SimpleQueue()
        requests.put(pb.AttachGuestRequest(start=self._describe()))
        began = False
        try:
            with self._channel.errors():
                stub = GuestServiceStub(self._channel.grpc)
                metadata = self._channel.metadata()
                call = stub.AttachGuest(iter(requests.get, None), metadata=metadata)
                with self._lock:
                    self._call = cast("Cancellable", call)
                    if self._closed:
                        call.cancel()
                for response in call:
                    if not began and self._is_over():
                        call.cancel()
                        return stopped(), False
                    with self._lock:
                        if response.HasField("attached"):
                            began = True
                            self._serial = response.attached.serial
                            self._requests = requests
                            self._lock.notify_all()
                        self._tell(response)
            return DeviceLost("the kernel service has ended the stream"), began
        except VirtmeshError as error:
            return error, began
        finally:
            requests.put(None)

    def _is_over(self) -> bool:
        """Return whether the run of the machine has ended."""
        return self._machine is not None and not self._machine.supervisor.alive

    def _tell(self, news: News) -> None:
        """Keep news for the owner. The caller holds the lock."""
        self._news.append(news)
        self._nudge()

    def _nudge(self) -> None:
        """Make `handle` readable, unless the link is closed. The caller holds the lock."""
        if self._wake >= 0:
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake, b"\0")


def stopped() -> GuestError:
    """Return the error of a guest whose machine has ended."""
    return GuestError("the machine was stopped, and its guest with it")


def is_retried(error: VirtmeshError) -> bool:
    """Return whether to attach again. A plain VirtmeshError is one of the transport."""
    return isinstance(error, RETRIED) or type(error) is VirtmeshError
