"""The stream of one injector: numbered packets out, what became of each back.

Invariant: `_lock` guards everything that the threads share. Three kinds of thread use a stream:
callers, which send and wait; gRPC's own, which takes the requests from the queue; and one reader
that belongs to the stream, which alone settles packets. A stream ends once, and every packet that
has no answer by then stays without one.

The device releases what an injector holds when its stream ends: so a stream lives as long as its
injector is open, not as long as one call.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

from virtmesh_client.input.batch import Batch, Sent
from virtmesh_client.input.events import close_packet, to_messages
from virtmesh_client.input.models import Outcome
from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.errors import DeviceNotReady, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from virtmesh_client.channel import Cancellable, KernelChannel
    from virtmesh_client.input.events import Packet
    from virtmesh_client.input.models import Injected, Overflow, Wait

WINDOW = 1024
"""Packets without an answer at one time: a sender that has so many waits until half are left."""
CLOSE_SECONDS = 5.0
"""How long the device may take to answer the last packets and to release what a stream holds."""

OUTCOMES = {
    input_pb2.OUTCOME_ACCEPTED: Outcome.ACCEPTED,
    input_pb2.OUTCOME_DELIVERED: Outcome.DELIVERED,
    input_pb2.OUTCOME_REFUSED: Outcome.REFUSED,
    input_pb2.OUTCOME_LOST: Outcome.LOST,
}
OVERFLOWS = {"wait": input_pb2.OVERFLOW_WAIT, "refuse": input_pb2.OVERFLOW_REFUSE}


class Stream:
    """One Inject call."""

    def __init__(self, channel: KernelChannel, device: str, lock: threading.Condition) -> None:
        self.error: VirtmeshError | None = None
        self.ended = False
        self.waiting = 0
        self.answers = 0
        """Responses so far: whether there is progress."""
        self._lock = lock
        self._channel = channel
        self._requests: SimpleQueue[input_pb2.InjectRequest | None] = SimpleQueue()
        self._open: dict[int, Sent] = {}
        self._unanswered = 0
        self._full = False
        self._call = InputServiceStub(channel.grpc).Inject(
            iter(self._requests.get, None), metadata=channel.metadata(device)
        )
        self._reader = threading.Thread(target=self._read, name="virtmesh-injector", daemon=True)
        self._reader.start()

    @property
    def full(self) -> bool:
        """True when no packet may be sent; the lock is held."""
        if self._full:
            self._full = self._unanswered > WINDOW // 2
        else:
            self._full = self._unanswered >= WINDOW
        return self._full

    def send(self, packet: Sent, request: input_pb2.InjectRequest) -> None:
        """Send one packet; the lock is held."""
        self._open[packet.sequence] = packet
        self._unanswered += 1
        self._requests.put(request)

    def claim(self) -> list[Sent]:
        """Return the packets without an answer that nobody waits for, once; the lock is held."""
        lost = [
            packet
            for packet in self._open.values()
            if not packet.answered and packet.batch.wanted is Outcome.SENT
        ]
        for packet in lost:
            del self._open[packet.sequence]
        return lost

    def close(self, seconds: float) -> None:
        """End the stream in order; when that takes longer than `seconds`, cut it."""
        self._requests.put(None)
        self._reader.join(seconds)
        cast("Cancellable", self._call).cancel()
        self._reader.join()

    def _read(self) -> None:
        """Settle packets until the stream ends."""
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
        """Note what became of a packet; an answer that belongs to none is ignored."""
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
        # Waking a waiter for every answer would cost more than the answer.
        if not packet.batch.unsettled or (self._full and not self.full):
            self._lock.notify_all()


class Injector:
    """Sends packets to one device, under numbers that ascend over all its streams."""

    def __init__(self, channel: KernelChannel, device: str) -> None:
        self.device = device
        self._channel = channel
        self._lock = threading.Condition()
        self._stream: Stream | None = None
        self._streams: WeakKeyDictionary[Batch, Stream] = WeakKeyDictionary()
        """The stream of each call, from its first packet on."""
        self._sequence = 0

    def open(self) -> None:
        """Open the stream, so that the first packet does not wait for that.

        Errors: what cut the one before, when packets that nobody waited for had no answer.
        """
        with self._lock:
            self._opened()

    def close(self, *, hurry: bool = False) -> None:
        """End the stream: the device releases what it holds. The next packet opens another.

        Errors: what cut the stream, DeviceNotReady too, when packets nobody waits for have no
        answer; in a hurry they are given up.
        """
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is None:
            return
        stream.close(0.0 if hurry else CLOSE_SECONDS)
        with self._lock:
            lost = stream.claim()
        if lost and not hurry:
            stream.error = stream.error or DeviceNotReady(
                f"{self.device} does not take the packets"
            )
            raise self._cut(stream, lost)

    @contextmanager
    def batch(self, wait: Wait, overflow: Overflow, timeout: float | None) -> Iterator[Batch]:
        """Collect the packets of one call, which another thread may cancel."""
        batch = Batch(wait, overflow, timeout, wake=self._wake)
        with self._channel.running(batch):
            yield batch

    def send(self, batch: Batch, events: Packet) -> None:
        """Send one packet, without waiting for its outcome.

        Errors: what cut the stream, with an account of the packets; VirtmeshError when cancelled.
        """
        with self._lock:
            # A call belongs to one stream: what it held is released when that ends.
            stream = self._streams.get(batch) or self._opened()
            self._streams[batch] = stream
            self._await(lambda: not stream.full, stream, batch)
            if stream.ended:
                raise self._cut(stream, with_unclaimed(stream, batch))
            self._put(stream, batch, events)

    def settle(self, batch: Batch) -> Injected:
        """Wait for what a batch asked for, and sum up.

        Errors: as `send`; DeviceNotReady when there is no progress within its timeout.
        """
        with self._lock:
            stream = self._streams.get(batch)
            if stream is not None and batch.wanted is not Outcome.SENT:
                self._await(lambda: not batch.unsettled, stream, batch)
            return batch.result(stream.waiting if stream else 0)

    def let_go(self, packets: Iterable[Packet]) -> None:
        """Send packets that release what an interrupted call left down.

        Nobody waits for them, and nothing is sent when the stream has ended: that releases too.
        """
        batch = Batch("accepted", "wait", None, wake=self._wake)
        with self._lock:
            stream = self._stream
            for events in packets:
                if stream is not None and not stream.ended:
                    self._put(stream, batch, events)

    @property
    def is_cut(self) -> bool:
        """True when the stream ended by itself: what it held is released."""
        with self._lock:
            return self._stream is not None and self._stream.ended

    def _wake(self) -> None:
        """Let waiting callers look again."""
        with self._lock:
            self._lock.notify_all()

    def _put(self, stream: Stream, batch: Batch, events: Packet) -> None:
        """Send one packet under the next number; the lock is held."""
        self._sequence += 1
        stream.send(
            batch.add(self._sequence, len(events)),
            input_pb2.InjectRequest(
                sequence=self._sequence,
                events=to_messages(close_packet(events)),
                report_delivered=batch.wanted is Outcome.DELIVERED,
                overflow=OVERFLOWS[batch.overflow],
            ),
        )

    def _opened(self) -> Stream:
        """Return a stream that has not ended; the lock is held.

        Errors: what cut the one before, when packets that nobody waited for had no answer.
        """
        before = self._stream
        if before is None or before.ended:
            self._stream = None
            if before is not None and (lost := before.claim()):
                raise self._cut(before, lost)
            self._stream = Stream(self._channel, self.device, self._lock)
        return cast("Stream", self._stream)

    def _await(self, condition: Callable[[], bool], stream: Stream, batch: Batch) -> None:
        """Wait with the lock held. Errors: as `settle`."""
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
                raise self._cut(stream, with_unclaimed(stream, batch))
            if stream.answers == answers:
                raise account(
                    DeviceNotReady(
                        f"{self.device} takes no packets: no progress in {batch.timeout:g} s"
                    ),
                    batch.packets,
                )

    def _cut(self, stream: Stream, packets: list[Sent]) -> VirtmeshError:
        """Return what ended a stream, with the account of packets that were under way."""
        cause = stream.error or VirtmeshError(f"{self.device} ended the stream")
        # A fresh one for each caller: the account is its own.
        return account(cause.again(), packets)


def with_unclaimed(stream: Stream, batch: Batch) -> list[Sent]:
    """Return the packets of a batch, and those that nobody else will tell of, in order."""
    lost = {packet.sequence: packet for packet in [*stream.claim(), *batch.packets]}
    return [lost[sequence] for sequence in sorted(lost)]


def account(error: VirtmeshError, packets: list[Sent]) -> VirtmeshError:
    """Tell an error which packets have which fate: facts for programs, a note for people."""
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
    note = f"of the packets {first} to {last}, {len(accepted)} are accepted"
    if unknown:
        note += f"; {len(unknown)}, from {unknown[0]} on, have no answer"
    error.add_note(note)
    return error
