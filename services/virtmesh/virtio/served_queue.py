"""A virtqueue that a device model serves on the event loop, and the chains that arrive on it.

The native ring reads each value that the driver can change once, and checks it. A chain that
arrives here is complete, and all its buffers lie in guest memory. The content of the buffers is
still shared with the driver: copy it (`Chain.read`), then parse the copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from virtmesh_native import DeviceQueue

from virtmesh_common.api.trace.v1 import trace_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh_native import GuestMemory, Interrupt, QueueConfig, RingState

log = structlog.get_logger(__name__)

Buffer = tuple[int, int]
"""A buffer: guest address and length in bytes."""
MALFORMED = "malformed-chain"
"""Name of the rule behind a malformed chain, if the model names none: the reason has its clause."""
REQUEST_TYPE_OTHER = 127
"""Type of a recorded request whose own type is larger (EVENT_KIND_REQUEST_START)."""


class MalformedChain(Exception):
    """A chain breaks the rules of its device. The ring that brought it is intact."""


@dataclass(slots=True)
class QueueCounters:
    """What happened on one queue since the device was made."""

    notifications: int = 0
    """Notifications received by eventfd."""
    requests: int = 0
    """Chains given back as used, without the malformed ones."""
    malformed: int = 0
    """Chains given back unused since they broke the rules of the device."""


class Chain:
    """A descriptor chain that the driver made available.

    `token` identifies it among the chains in flight on its queue. `readable` and `writable` are its
    buffers in order, all inside guest memory. The device calls `push` once for each chain, at once
    or later. When the queue stops, its chains are the driver's again: `write` and `push` then do
    nothing.
    """

    __slots__ = ("_queue", "_request", "readable", "token", "writable")

    def __init__(
        self,
        queue: ServedQueue,
        token: int,
        readable: Sequence[Buffer],
        writable: Sequence[Buffer],
    ) -> None:
        self.token = token
        self.readable = readable
        self.writable = writable
        self._queue = queue
        self._request: int | None = None

    @property
    def queue(self) -> int:
        """Index of the queue on which it arrived."""
        return self._queue.index

    @property
    def memory(self) -> GuestMemory:
        """The guest memory of its queue."""
        return self._queue.memory

    @property
    def readable_bytes(self) -> int:
        """Bytes that the device may read, below 2**32."""
        return _total(self.readable)

    @property
    def writable_bytes(self) -> int:
        """Bytes that the device may write, below 2**32."""
        return _total(self.writable)

    def read(self, length: int, offset: int = 0) -> bytes:
        """Copy bytes out of the readable buffers, however the driver split them (2.7.4.1).

        A driver chooses the lengths of its buffers: bound `length` first. Errors: MalformedChain if
        there are fewer bytes.
        """
        memory = self._queue.memory
        return b"".join(memory.read(*part) for part in _parts(self.readable, offset, length))

    def write(self, data: bytes, offset: int = 0) -> int:
        """Copy data into the writable buffers, however the driver split them; return its length.

        Errors: MalformedChain if there is too little room.
        """
        queue, size = self._queue, len(data)
        if not queue.running:
            return size
        if len(self.writable) == 1 and not offset and size <= self.writable[0][1]:  # most chains
            queue.memory.write(self.writable[0][0], data)
            return size
        position = 0
        for address, length in _parts(self.writable, offset, size):
            queue.memory.write(address, data[position : position + length])
            position += length
        return size

    def begin(self, request: int, *, value: int = 0, extra: int = 0) -> None:
        """Record that the execution of a request begins; `push` records its end.

        `request` is its type, a number from 0 on, which the kind of device gives a name. `value`
        and `extra` are those of EVENT_KIND_REQUEST_START (virtmesh.trace.v1).
        """
        self._request = min(request, REQUEST_TYPE_OTHER)
        self._record(trace_pb2.EVENT_KIND_REQUEST_START, value, extra)

    def push(self, written: int = 0, *, status: int = 0) -> None:
        """Give the chain back as used.

        `written` is the number of bytes that the device wrote into it, from the first writable byte
        on (2.7.8.2). `status` is recorded as the outcome of a request that `begin` recorded.

        Nothing that the driver does to the ring makes it fail. Errors: ValueError for a chain that
        was given back before; the queue is broken then.
        """
        if self._request is not None:
            self._record(trace_pb2.EVENT_KIND_REQUEST_END, status, 0)
        queue = self._queue
        if queue.running:
            queue.counters.requests += 1
            queue.give_back(self.token, written)

    def _record(self, kind: trace_pb2.EventKind.ValueType, value: int, extra: int) -> None:
        """Record the beginning or the end of the request."""
        self._queue.interrupt.recorder.record(
            kind,
            detail=self._request or 0,
            queue=self._queue.index,
            token=self.token,
            value=value,
            extra=extra,
        )


class ServedQueue:
    """One queue while it is served. `memory` is the driver's.

    `on_fault` is told the queue and the reason when a chain can't be given back: the ring takes no
    more then. Errors of every method that looks at the ring: RingCorrupt when the driver broke it.
    Giving chains back does not look: it only writes.
    """

    def __init__(
        self,
        index: int,
        memory: GuestMemory,
        config: QueueConfig,
        interrupt: Interrupt,
        counters: QueueCounters,
    ) -> None:
        self.index = index
        self.memory = memory
        self.interrupt = interrupt
        self.counters = counters
        self.running = True
        """False once the queue is stopped or broken."""
        self.on_fault: Callable[[ServedQueue, str], None] | None = None
        self._ring = DeviceQueue(memory, config, recorder=interrupt.recorder, index=index)
        self._collecting = False
        self._malformed_before = counters.malformed

    @property
    def state(self) -> RingState:
        """The `state` of the QueueConfig with which another device side continues.

        It takes the chains that are in flight again, so that a model that holds chains back must
        push them in the order in which they came.
        """
        return self._ring.state_in_order

    def pop(self) -> Chain | None:
        """Take the next available chain, if there is one."""
        if not self.interrupt.takes_chain(self.index):
            return None
        popped = self._ring.pop()
        if popped is None:
            return None
        token, readable, writable = popped
        return Chain(self, token, readable, writable)

    def give_back(self, token: int, written: int) -> None:
        """Give a chain back as used, and interrupt the driver if it asks for that.

        Errors: ValueError for a chain that was given back before.
        """
        try:
            self._ring.push_by(token, written, self.interrupt)
        except ValueError as error:
            if self.on_fault is not None:
                self.on_fault(self, f"the model failed: {error!r}")
            raise
        if not self._collecting:
            self.signal()

    def refuse(self, chain: Chain, reason: str, rule: str = "") -> None:
        """Give a malformed chain back: nothing was written to it (2.7.8.2).

        `rule` names what the driver broke (virtmesh.report.rules).
        """
        rule = rule or MALFORMED
        self.interrupt.violated(rule, reason, queue=self.index, token=chain.token)
        if self.counters.malformed == self._malformed_before:
            log.warning(
                "a malformed chain is given back unused; later ones of this queue are only counted",
                queue=self.index,
                token=chain.token,
                reason=reason,
            )
        self.counters.malformed += 1
        if self.running:
            self.give_back(chain.token, 0)

    def enable_notifications(self) -> bool:
        """Ask for a notification of the next available chain; True if one is there already.

        A stuck queue has none.
        """
        return self._ring.enable_notifications() and not self.interrupt.is_stuck(self.index)

    def disable_notifications(self) -> None:
        """Ask for no notifications. A hint: some may still come."""
        self._ring.disable_notifications()

    def collect_interrupts(self) -> None:
        """Hold interrupts back until `signal`: one is enough for many chains."""
        self._collecting = True

    def signal(self) -> None:
        """Interrupt the driver, if it asks for that, for the chains pushed since the last call."""
        self._collecting = False
        if self._ring.needs_interrupt():
            self.interrupt.raise_used(self.index)


def _parts(buffers: Sequence[Buffer], offset: int, length: int) -> Sequence[Buffer]:
    """Return where `length` bytes from an offset on lie. Errors: MalformedChain for fewer."""
    total = _total(buffers)
    if offset + length > total:
        raise MalformedChain(f"{offset + length} bytes are needed, and its buffers have {total}")
    parts = []
    for address, size in buffers:
        if offset >= size:
            offset -= size
            continue
        part = min(size - offset, length)
        if not part:
            break
        parts.append((address + offset, part))
        length -= part
        offset = 0
    return parts


def _total(buffers: Sequence[Buffer]) -> int:
    """Return the bytes of buffers. A loop: for the few that a chain has, faster than a sum."""
    total = 0
    for _, length in buffers:
        total += length
    return total
