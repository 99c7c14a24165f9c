"""Streams of events: those that the driver received, and those that it sent to the device."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import grpc

from virtmesh_client.input.models import OutputPacket, Received
from virtmesh_client.patience import Patience
from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.api.kernel.v1 import input_device_pb2
from virtmesh_common.api.kernel.v1.input_device_pb2_grpc import InputDeviceServiceStub
from virtmesh_common.errors import DeviceLost, NoAnswer, VirtmeshError
from virtmesh_common.evdev import CODES
from virtmesh_common.input.events import EV_SYN, REPORT, Event
from virtmesh_common.retry import to_retry_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.channel import KernelChannel

Item = TypeVar("Item")

DROPPED = Event(EV_SYN, CODES["EV_SYN"]["SYN_DROPPED"], 0)
"""What Linux says to a reader that has missed events."""


class InputWatch(Generic[Item]):
    """An open stream. It misses nothing that happens after the object is made.

    Iterate over it, and close it or use it in a `with`. The stream ends at its time limit, or when
    any thread closes it. When the kernel service was restarted it goes on by itself, and an item
    says where something may be missing. Errors: DeviceLost; WatcherTooSlow if events arrive faster
    than they are read; ServiceUnavailable if the kernel service does not come back.
    """

    def __init__(
        self,
        channel: KernelChannel,
        device: str,
        seconds: float | None,
        retry_for: float | None = None,
    ) -> None:
        self._channel = channel
        self._device = device
        self._retry_for = channel.patience(retry_for)
        self._ends = None if seconds is None else time.monotonic() + seconds
        self._patience = Patience(channel, self._retry_for)
        self._items: deque[Item] = deque()
        self._lock = threading.Lock()
        self._closed = False
        self._call: Any = None
        self._messages: Iterator[Any] = iter(())
        try:
            snapshot = self._connect()
        except StopIteration:
            raise NoAnswer(f"{device} did not answer within {seconds:g} s") from None
        self.sequence: int = snapshot.sequence
        """Number of the last event or packet before the stream began."""
        self._last = self.sequence
        """Number of the last one that came."""
        self._begin(snapshot)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while not self._items:
            try:
                message = self._receive()
            except VirtmeshError as error:
                self._resume(error)
            else:
                self._items.extend(self._take(message))
                self._last = message.sequence
        return self._items.popleft()

    def close(self) -> None:
        """End the stream. Any thread may call this. In a forked child nothing happens."""
        if self._channel.forked:
            return
        with self._lock:
            self._closed = True
            call = self._call
        if call is not None:
            call.cancel()

    cancel = close

    def _connect(self) -> Any:
        """Open the stream, and return its snapshot. Errors: StopIteration; as of the class."""
        while True:
            try:
                return self._open()
            except VirtmeshError as error:
                self._bear(error)

    def _bear(self, error: VirtmeshError) -> None:
        """Wait, if the stream is to be opened again. Errors: `error`; StopIteration."""
        self._patience.bear(error)
        if self._closed or self._is_late:
            raise StopIteration

    @property
    def _is_late(self) -> bool:
        return self._ends is not None and time.monotonic() >= self._ends

    def _open(self) -> Any:
        """Open the stream once, and return its snapshot."""
        begun = time.monotonic()
        left = None if self._ends is None else max(self._ends - time.monotonic(), 0.0)
        call = self._call_kernel(left)
        with self._lock:
            self._call = call
            if self._closed:
                call.cancel()
        self._messages = iter(call)
        try:
            snapshot = self._receive()
        except StopIteration:
            if self._closed or self._is_late:
                raise
            raise DeviceLost(
                f"{self._device} ended the stream before its first message: its service is stopping"
            ) from None
        except BaseException:
            call.cancel()
            raise
        self._channel.presence.note_answer(begun)
        self._patience.renew()
        return snapshot

    def _resume(self, error: VirtmeshError) -> None:
        """Go on with another stream, if that is worth trying. Errors: `error`; StopIteration."""
        self._bear(error)
        snapshot = self._connect()
        self._items.extend(self._mark(snapshot))
        self._last = snapshot.sequence
        self._begin(snapshot)

    def _receive(self) -> Any:
        """Return the next message.

        Errors: StopIteration at the end of the stream; DeviceLost; WatcherTooSlow.
        """
        with self._channel.errors():
            try:
                self._channel.check_process()
                return next(self._messages)
            except grpc.RpcError as failure:
                code = cast("grpc.Call", failure).code()
                if self._closed or code is grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise StopIteration from None
                raise

    def _call_kernel(self, seconds: float | None) -> Any:
        """Begin the call, with its time limit."""
        raise NotImplementedError

    def _begin(self, snapshot: Any) -> None:
        """Store what a snapshot, the first message of a stream, says."""

    def _mark(self, snapshot: Any) -> Iterator[Item]:
        """Yield what says that something may be missing before another stream."""
        raise NotImplementedError

    def _take(self, message: Any) -> Iterator[Item]:
        """Yield the items of a message."""
        raise NotImplementedError


class EventWatch(InputWatch[Received]):
    """The events that the driver of a device receives.

    After a restart of the kernel service comes SYN_DROPPED, in a packet of its own, as from Linux:
    events may be missing, and a packet that had begun does not end. The driver is another one,
    which counts anew.
    """

    def _call_kernel(self, seconds: float | None) -> Any:
        stub = InputDeviceServiceStub(self._channel.grpc)
        request = input_device_pb2.WatchRequest(
            device=self._device, retry_for_ms=to_retry_ms(self._retry_for)
        )
        return stub.Watch(request, timeout=seconds, metadata=self._channel.metadata())

    def _mark(self, snapshot: input_device_pb2.WatchResponse) -> Iterator[Received]:
        now = time.time_ns() // 1000
        yield Received(snapshot.sequence, now, DROPPED)
        yield Received(snapshot.sequence, now, REPORT)

    def _take(self, message: input_device_pb2.WatchResponse) -> Iterator[Received]:
        first = message.sequence - len(message.events) + 1
        for index, (word, time_us) in enumerate(zip(message.events, message.times_us, strict=True)):
            yield Received(first + index, time_us, Event.unpack(word))


class OutputWatch(InputWatch[OutputPacket]):
    """The packets that the driver sends to the device: LEDs, sounds and repeat settings.

    The device counts them, also while no kernel service is there to forward them: after a restart
    of that, a packet without events says how many were missed, if any were.
    """

    leds_on: tuple[int, ...]
    """Codes of the LEDs that were on when the stream began."""

    def _call_kernel(self, seconds: float | None) -> Any:
        return InputServiceStub(self._channel.grpc).WatchOutput(
            input_pb2.WatchOutputRequest(),
            timeout=seconds,
            metadata=self._channel.metadata(self._device),
        )

    def _begin(self, snapshot: input_pb2.WatchOutputResponse) -> None:
        self.leds_on = tuple(snapshot.leds_on)

    def _mark(self, snapshot: input_pb2.WatchOutputResponse) -> Iterator[OutputPacket]:
        missed = snapshot.sequence - self._last
        if missed:  # negative: the device was restarted as well, and counts anew
            leds = tuple(snapshot.leds_on)
            yield OutputPacket(snapshot.sequence, (), leds, missed if missed > 0 else None)

    def _take(self, message: input_pb2.WatchOutputResponse) -> Iterator[OutputPacket]:
        events = tuple(Event(one.type, one.code, one.value) for one in message.events)
        yield OutputPacket(message.sequence, events, tuple(message.leds_on))
