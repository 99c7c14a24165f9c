"""The handover socket: receives a driver's memory and eventfds (virtmesh.memory.v1).

What a request says is checked in virtmesh.attach.request; door.py has the socket itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog
from virtmesh_native import GuestMemory

from virtmesh.attach.door import PENDING_SECONDS, Door, Visitor
from virtmesh.attach.memory_limit import GUEST_MEMORY_MAX, check_size, warn_of
from virtmesh.attach.request import check_doorbells, check_eventfd, check_indexes, parse
from virtmesh.mmio.inflight_logs import InFlightLogs
from virtmesh.rpc.peers import OWN_USER
from virtmesh_common.api.memory.v1 import handover_pb2 as pb
from virtmesh_common.errors import MemoryMissing, VirtmeshError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

    from virtmesh.mmio.device import QueueEventfds

log = structlog.get_logger(__name__)

REGISTER_CHANNEL = 1
"""Version of the register channel that this package serves (handover.proto)."""


class ClosableChannel(Protocol):
    """What serves the register channel of a connection."""

    def close(self) -> None:
        """Stop serving, before the connection is closed."""


class Handover(Visitor):
    """What one driver handed over, and the connection whose end says that the driver is gone."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self.memory: GuestMemory | None = None
        self.doorbells: dict[int, QueueEventfds] = {}
        self.config_call: int | None = None
        self.inflight_logs: InFlightLogs | None = None
        self.line: int | None = None
        self.channel: ClosableChannel | None = None
        """Reads the connection from Attach on."""

    def take(
        self,
        request: pb.HandoverRequest,
        queue_size_max: Sequence[int],
        kept_state_bytes: int = 0,
        memory_max_bytes: int = GUEST_MEMORY_MAX,
    ) -> None:
        """Check a request against the descriptors, map its memory and make the ticket.

        Errors: MemoryRefused, MemoryMissing, MemoryUnsealed, MemoryTooSmall, BadDoorbell.
        """
        descriptors = self._descriptors
        check_indexes(request, len(descriptors))
        check_size(sum(region.size_bytes for region in request.regions), memory_max_bytes)
        self.doorbells = check_doorbells(request, descriptors, len(queue_size_max))
        if request.HasField("config_call_index"):
            self.config_call = descriptors[request.config_call_index]
            check_eventfd(self.config_call, "the configuration change doorbell")
        if request.HasField("inflight_log_index"):
            log_descriptor = descriptors[request.inflight_log_index]
            self.inflight_logs = InFlightLogs(log_descriptor, queue_size_max, kept_state_bytes)
        if request.HasField("line_index"):
            self.line = descriptors[request.line_index]
            check_eventfd(self.line, "the eventfd of the line")
        self.memory = GuestMemory(
            [
                (
                    descriptors[region.descriptor_index],
                    region.guest_address,
                    region.size_bytes,
                    region.offset_bytes,
                )
                for region in request.regions
            ]
        )
        warn_of(self.memory.size)
        self.make_ticket()

    def release(self) -> None:
        """Let go of memory and channel, before the connection is closed."""
        if self.inflight_logs is not None:
            self.inflight_logs.keep()  # The connection ended, not the driver's use of its queues.
        self.memory = self.inflight_logs = None
        if self.channel is not None:
            self.channel.close()
            self.channel = None  # It knows the session, and that this: its descriptors would stay.


class HandoverServer(Door[Handover]):
    """The handover socket of one device.

    `queue_size_max` has the largest size of each queue of the device, in entries,
    `kept_state_bytes` what it keeps behind the in-flight logs, and `memory_max_bytes` how much
    guest memory it takes.
    `register_channel` is the version that its connections carry after Attach; 0: none.
    """

    def __init__(  # noqa: PLR0913 - what a device takes
        self,
        path: Path,
        queue_size_max: Sequence[int],
        *,
        kept_state_bytes: int = 0,
        memory_max_bytes: int = GUEST_MEMORY_MAX,
        pending_seconds: float = PENDING_SECONDS,
        register_channel: int = 0,
    ) -> None:
        super().__init__(path, option="--handover", peers=OWN_USER, pending_seconds=pending_seconds)
        self._queue_size_max = queue_size_max
        self._kept_state_bytes = kept_state_bytes
        self._memory_max_bytes = memory_max_bytes
        self._register_channel = register_channel

    def make_visitor(self, connection: socket.socket) -> Handover:
        """Make the record of a connection."""
        return Handover(connection)

    def take(self, visitor: Handover, data: bytes, flags: int, count: int) -> bytes:
        """Take a request with `count` descriptors; return the answer. Errors: as Handover.take."""
        visitor.take(
            parse(data, flags, count),
            self._queue_size_max,
            self._kept_state_bytes,
            self._memory_max_bytes,
        )
        self._watch(visitor)
        return pb.HandoverResponse(
            ticket=visitor.ticket, register_channel=self._register_channel
        ).SerializeToString()

    def spell_refusal(self, error: VirtmeshError) -> bytes:
        """Return the answer that tells of an error."""
        return pb.HandoverResponse(
            error_reason=error.reason, error_message=error.message
        ).SerializeToString()

    def missing(self) -> MemoryMissing:
        """Return the error for a ticket that nothing was handed over for."""
        return MemoryMissing(
            "no memory was handed over for this ticket, or its connection is closed: hand memory"
            f" over at {self.path}, and keep the connection open"
        )

    def drop(self, visitor: Handover) -> None:
        """Close a connection."""
        if visitor in self._visitors:
            self._unwatch(visitor)
        super().drop(visitor)

    def _watch(self, handover: Handover) -> None:
        """Hang up when memory of a driver goes away under its mapping."""
        lost = handover.memory.lost_fd if handover.memory is not None else None
        if lost is not None:
            self._loop.add_reader(lost, self._lose, handover)

    def _unwatch(self, handover: Handover) -> None:
        """Stop looking after the memory of a driver."""
        lost = handover.memory.lost_fd if handover.memory is not None else None
        if lost is not None:
            self._loop.remove_reader(lost)

    def _lose(self, handover: Handover) -> None:
        """Hang up on a driver whose memory went away."""
        log.warning("huge pages of a driver's memory went away: it is detached")
        self.drop(handover)
