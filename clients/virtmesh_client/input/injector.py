"""The Inject stream of one injector: it sends numbered packets and receives their outcomes.

Invariant: `_lock` guards everything that the threads share. Three kinds of thread use a stream:
callers send packets and wait; a thread of gRPC takes the requests from the queue; and one reader
thread of the stream receives the outcomes. Only the reader changes the outcome of a packet. A
stream ends once. A packet without an answer at that time never gets one.

The device releases the keys of an injector when its stream ends. So a stream stays open as long as
its injector is open, not only for one call.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

from virtmesh_client.channel import ChannelCondition
from virtmesh_client.input.batch import PacketBatch, PendingPacket
from virtmesh_client.input.models import Outcome
from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.errors import DeviceNotReady, VirtmeshError
from virtmesh_common.input.events import close_packet, to_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from virtmesh_client.channel import Cancellable, KernelChannel
    from virtmesh_client.input.models import Injected, Overflow, Wait
    from virtmesh_common.input.events import Packet

UNANSWERED_MAX = 1024
"""Most packets without an answer. A sender that reaches it waits until half of them are left."""
CLOSE_SECONDS = 5.0
"""How long `close` waits for the device to answer the last packets and to release all keys."""

OUTCOMES = {
    input_pb2.OUTCOME_ACCEPTED: Outcome.ACCEPTED,
    input_pb2.OUTCOME_DELIVERED: Outcome.DELIVERED,
    input_pb2.OUTCOME_REFUSED: Outcome.REFUSED,
    input_pb2.OUTCOME_LOST: Outcome.LOST,
}
OVERFLOWS = {"wait": input_pb2.OVERFLOW_WAIT, "refuse": input_pb2.OVERFLOW_REFUSE}


class InjectStream:
    """One Inject call (virtmesh.input.v1.InputService)."""

    def __init__(
        self,
        channel: KernelChannel,
        device: str,
        lock: threading.Condition,
        retry_for: float | None,
    ) -> None:
        self.error: VirtmeshError | None = None
        self.ended = False
        self.waiting = 0
        self.answers = 0
        """Number of responses so far. It shows whether there is progress."""
        self._lock = lock
        self._channel = channel
        self._requests: SimpleQueue[input_pb2.InjectRequest | None] = SimpleQueue()
        self._open: dict[int, PendingPacket] = {}
        self._unanswered = 0
        self._full = False
        self._call = InputServiceStub(channel.grpc).Inject(
            iter(self._requests.get, None), metadata=channel.metadata(device, retry_for)
        )
        self._reader = threading.Thread(target=self._read, name="virtmesh-injector", daemon=True)
        self._reader.start()

    @property
    def full(self) -> bool:
        """True when no packet may be sent. The caller holds the lock."""
        if self._full:
            self._full = self._unanswered > UNANSWERED_MAX // 2
        else:
            self._full = self._unanswered >= UNANSWERED_MAX
        return self._full

    def send(self, packet: PendingPacket, request: input_pb2.InjectRequest) -> None:
        """Send one packet. The caller holds the lock."""
        self._open[packet.sequence] = packet
        self._unanswered += 1
        self._requests.put(request)

    def take_unreported(self) -> list[PendingPacket]:
        """Return the packets without an answer for which no call waits.

        Each packet is returned only once. The caller holds the lock.
        """
        lost = [
            packet
            for packet in self._open.values()
            if not packet.answered and packet.batch.wanted is Outcome.SENT
        ]
        for packet in lost:
            del self._open[packet.sequence]
        return lost

    def close(self, seconds: float) -> None:
        """Half-close the stream and wait for its end; cancel it after `seconds`."""
        self._requests.put(None)
        self._reader.join(seconds)
        cast("Cancellable", self._call).cancel()
        self._reader.join()

    def _read(self) -> None:
        """Receive outcomes until the stream ends."""
        error: VirtmeshError | None = None
        try:
            with self._channel.errors():
                for response in self._call:
                    with self._lock:
                        self._settle(response)
        except VirtmeshError as failure:
            error = failure
        finally:
            self._requests.put(None)
            with self._lock:
                self.error = error
                self.ended = True
                self._lock.notify_all()

    def _settle(self, response: input_pb2.InjectResponse) -> None:
        """Store the outcome of a packet. A response to an unknown packet is ignored."""
        self.answers += 1
        self.waiting = response.waiting
        packet = self._open.get(response.sequence)
        outcome = OUTCOMES.get(response.outcome)
        if packet is None or outcome is None:
            return
        if not packet.answered:
            self._unanswered -= 1
        packet.outcome = outcome
        packet.device_packet = response.packet
        if packet.settled:
            del self._open[response.sequence]
            packet.batch.unsettled -= 1
        # Waking a caller for every response would cost more than the response itself.
        if not packet.batch.unsettled or (self._full and not self.full):
            self._lock.notify_all()


class Injector:
    """Sends packets to one device. The packet numbers ascend over all its streams."""

    def __init__(self, channel: KernelChannel, device: str, retry_for: float | None = None) -> None:
        self.device = device
        self._retry_for = retry_for
        self._channel = channel
        self._lock = ChannelCondition(channel)
        self._stream: InjectStream | None = None
        self._streams: WeakKeyDictionary[PacketBatch, InjectStream] = WeakKeyDictionary()
        """The stream of each call, from its first packet on."""
        self._sequence = 0

    def open(self) -> None:
        """Open the stream in advance, so that the first packet is not delayed.

        Errors: the error that ended the previous stream, if packets that no call waited for had
        no answer.
        """
        with self._lock:
            self._open_stream()

    def close(self, *, hurry: bool = False) -> None:
        """End the stream, so that the device releases all keys. The next packet opens a new one.

        With `hurry`, packets without an answer are given up. Errors, otherwise: the error that
        ended the stream, or DeviceNotReady, if packets that no call waits for have no answer.
        In a forked child nothing happens: the stream is the parent's.
        """
        if self._channel.forked:
            return
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is None:
            return
        stream.close(0.0 if hurry else CLOSE_SECONDS)
        with self._lock:
            lost = stream.take_unreported()
        if lost and not hurry:
            stream.error = stream.error or DeviceNotReady(
                f"{self.device} did not accept the last packets within {CLOSE_SECONDS:g} s: does a"
                " driver read its events?"
            )
            raise self._stream_error(stream, lost)

    @contextmanager
    def batch(self, wait: Wait, overflow: Overflow, timeout: float | None) -> Iterator[PacketBatch]:
        """Yield the batch for the packets of one call. Another thread may cancel it.

        A kernel service that was lost before is waited for first: nothing is under way yet.
        Errors: those of `KernelChannel.ask`.
        """
        if self._channel.presence.lost_at is not None:
            request = input_pb2.GetInfoRequest()
            self._channel.ask(InputServiceStub(self._channel.grpc).GetInfo, request, self.device)
        batch = PacketBatch(wait, overflow, timeout, wake=self._wake)
        with self._channel.running(batch):
            yield batch

    def send(self, batch: PacketBatch, events: Packet) -> None:
        """Send one packet, without waiting for its outcome.

        Errors: the error that ended the stream, with a report of the packets; DeviceNotReady when
        there is no progress within the timeout; VirtmeshError when the call is cancelled.
        """
        with self._lock:
            # A call stays on one stream: when the stream ends, the device releases its keys.
            stream = self._streams.get(batch) or self._open_stream()
            self._streams[batch] = stream
            self._await(lambda: not stream.full, stream, batch)
            if stream.ended:
                raise self._stream_error(stream, with_unreported(stream, batch))
            self._put(stream, batch, events)

    def settle(self, batch: PacketBatch) -> Injected:
        """Wait until all packets have the outcome that the batch waits for; return the summary.

        Errors: the error that ended the stream, with a report of the packets; DeviceNotReady when
        there is no progress within the timeout; VirtmeshError when the call is cancelled.
        """
        with self._lock:
            stream = self._streams.get(batch)
            if stream is not None and batch.wanted is not Outcome.SENT:
                self._await(lambda: not batch.unsettled, stream, batch)
            return batch.result(stream.waiting if stream else 0)

    def release_held(self, packets: Iterable[Packet]) -> None:
        """Send packets that release the keys which an interrupted call still holds.

        No call waits for them. If the stream has ended, nothing is sent: the device has released
        the keys already.
        """
        batch = PacketBatch("accepted", "wait", None, wake=self._wake)
        with self._lock:
            stream = self._stream
            for events in packets:
                if stream is not None and not stream.ended:
                    self._put(stream, batch, events)

    @property
    def has_ended(self) -> bool:
        """True when the stream ended without `close`. The device has released its keys."""
        with self._lock:
            return self._stream is not None and self._stream.ended

    def _wake(self) -> None:
        """Wake waiting callers, so that they check their condition again."""
        with self._lock:
            self._lock.notify_all()

    def _put(self, stream: InjectStream, batch: PacketBatch, events: Packet) -> None:
        """Send one packet under the next number. The caller holds the lock."""
        self._sequence += 1
        stream.send(
            batch.add(self._sequence, len(events)),
            input_pb2.InjectRequest(
                sequence=self._sequence,
                events=to_messages(close_packet(events)),
                report_delivered=batch.wanted is Outcome.DELIVERED,
                overflow=OVERFLOWS[batch.overflow],
                any_value=batch.any_value,
            ),
        )

    def _open_stream(self) -> InjectStream:
        """Return a stream that has not ended. The caller holds the lock.

        Errors: the error that ended the previous stream, if packets that no call waited for had
        no answer.
        """
        before = self._stream
        if before is None or before.ended:
            self._stream = None
            if before is not None and (lost := before.take_unreported()):
                raise self._stream_error(before, lost)
            self._stream = InjectStream(self._channel, self.device, self._lock, self._retry_for)
        return cast("InjectStream", self._stream)

    def _await(
        self, condition: Callable[[], bool], stream: InjectStream, batch: PacketBatch
    ) -> None:
        """Wait for a condition, with the lock held.

        Errors: the error that ended the stream, with a report of the packets; DeviceNotReady when
        there is no progress within the timeout; VirtmeshError when the call is cancelled.
        """
        while True:
            answers = stream.answers
            self._lock.wait_for(
                lambda: batch.cancelled or condition() or stream.ended, batch.timeout
            )
            if batch.cancelled:
                raise VirtmeshError("the call was cancelled")
            if condition():
                return
            if stream.ended:
                raise self._stream_error(stream, with_unreported(stream, batch))
            if stream.answers == answers:
                raise add_packet_report(
                    DeviceNotReady(
                        f"{self.device} accepted no packet for {batch.timeout:g} s: does a driver"
                        " read its events?"
                    ),
                    batch.packets,
                )

    def _stream_error(self, stream: InjectStream, packets: list[PendingPacket]) -> VirtmeshError:
        """Return the error that ended a stream, with a report of the packets sent on it."""
        cause = stream.error or VirtmeshError(f"{self.device} ended the Inject stream")
        # Each caller gets a copy, since each has its own report.
        return add_packet_report(cause.again(), packets)


def with_unreported(stream: InjectStream, batch: PacketBatch) -> list[PendingPacket]:
    """Return the packets of a batch and those that no other call reports, in ascending order."""
    lost = {packet.sequence: packet for packet in [*stream.take_unreported(), *batch.packets]}
    return [lost[sequence] for sequence in sorted(lost)]


def add_packet_report(error: VirtmeshError, packets: list[PendingPacket]) -> VirtmeshError:
    """Add a report of packets to an error: `metadata` for programs, a note for people."""
    if not packets:
        return error
    first, last = packets[0].sequence, packets[-1].sequence
    accepted = [one.sequence for one in packets if one.outcome >= Outcome.ACCEPTED]
    unknown = [one.sequence for one in packets if not one.answered]
    error.metadata |= {
        "first": str(first),
        "last": str(last),
        "accepted": str(accepted[-1] if accepted else 0),
        "unanswered": str(unknown[0] if unknown else 0),
    }
    note = f"of packets {first} to {last}, {len(accepted)} were accepted"
    if unknown:
        note += f"; {len(unknown)}, from number {unknown[0]} on, have no answer"
    error.add_note(note)
    return error
