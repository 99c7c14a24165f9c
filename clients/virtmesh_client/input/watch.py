"""Streams of events: those that the driver received, and those that it sent to the device."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import grpc

from virtmesh_client.input.models import OutputPacket, Received
from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.api.kernel.v1 import input_device_pb2
from virtmesh_common.api.kernel.v1.input_device_pb2_grpc import InputDeviceServiceStub
from virtmesh_common.errors import DeviceLost
from virtmesh_common.input.events import Event
from virtmesh_common.retry import RETRY_SECONDS, to_retry_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.channel import Cancellable, KernelChannel

Item = TypeVar("Item")


class InputWatch(Generic[Item]):
    """An open stream. It misses nothing that happens after the object is made.

    Iterate over it, and close it or use it in a `with`. The stream ends at its time limit, or when
    any thread closes it. Errors: DeviceLost; WatcherTooSlow if events arrive faster than they are
    read.
    """

    def __init__(self, channel: KernelChannel, call: Any, device: str) -> None:
        self._channel = channel
        self._call = call
        self._device = device
        self._messages: Iterator[Any] = iter(call)
        self._items: deque[Item] = deque()
        self._closed = False
        with channel.errors():
            try:
                snapshot = next(self._messages)
            except StopIteration:
                raise DeviceLost(
                    f"{device} ended the stream before its first message: its service is stopping"
                ) from None
            except BaseException:
                self.close()
                raise
        self.sequence: int = snapshot.sequence
        """Number of the last event or packet before the stream began."""
        self._begin(snapshot)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while not self._items:
            self._items.extend(self._take(self._receive()))
        return self._items.popleft()

    def close(self) -> None:
        """End the stream. Any thread may call this. In a forked child nothing happens."""
        if self._channel.forked:
            return
        self._closed = True
        cast("Cancellable", self._call).cancel()

    cancel = close

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

    def _begin(self, snapshot: Any) -> None:
        """Store what the snapshot, the first message, says."""

    def _take(self, message: Any) -> Iterator[Item]:
        """Yield the items of a message."""
        raise NotImplementedError


class EventWatch(InputWatch[Received]):
    """The events that the driver of a device receives."""

    def __init__(
        self,
        channel: KernelChannel,
        device: str,
        seconds: float | None,
        retry_for: float = RETRY_SECONDS,
    ) -> None:
        stub = InputDeviceServiceStub(channel.grpc)
        request = input_device_pb2.WatchRequest(device=device, retry_for_ms=to_retry_ms(retry_for))
        call = stub.Watch(request, timeout=seconds, metadata=channel.metadata())
        super().__init__(channel, call, device)

    def _take(self, message: input_device_pb2.WatchResponse) -> Iterator[Received]:
        first = message.sequence - len(message.events) + 1
        for index, (word, time_us) in enumerate(zip(message.events, message.times_us, strict=True)):
            yield Received(first + index, time_us, Event.unpack(word))


class OutputWatch(InputWatch[OutputPacket]):
    """The packets that the driver sends to the device: LEDs, sounds and repeat settings."""

    leds_on: tuple[int, ...]
    """Codes of the LEDs that were on when the stream began."""

    def __init__(self, channel: KernelChannel, device: str, seconds: float | None) -> None:
        call = InputServiceStub(channel.grpc).WatchOutput(
            input_pb2.WatchOutputRequest(),
            timeout=seconds,
            metadata=channel.metadata(device),
        )
        super().__init__(channel, call, device)

    def _begin(self, snapshot: input_pb2.WatchOutputResponse) -> None:
        self.leds_on = tuple(snapshot.leds_on)

    def _take(self, message: input_pb2.WatchOutputResponse) -> Iterator[OutputPacket]:
        events = tuple(Event(one.type, one.code, one.value) for one in message.events)
        yield OutputPacket(message.sequence, events, tuple(message.leds_on))
