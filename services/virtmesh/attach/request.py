"""What a handover request says, checked against the descriptors that came with it.

Nothing here asks a file system that a stranger may serve: what a descriptor is, the kernel knows.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from virtmesh.attach.door import PACKET_LIMIT_BYTES
from virtmesh.mmio.device import QueueEventfds
from virtmesh_common.api.memory.v1 import handover_pb2 as pb
from virtmesh_common.errors import (
    BadDoorbell,
    BadStream,
    MemoryMissing,
    MemoryRefused,
    MessageTooLarge,
)
from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

DESCRIPTOR_LIMIT = 128
"""Most descriptors of a packet (handover.proto)."""
REGION_LIMIT = 8
"""Most regions of guest memory (handover.proto)."""
EVENTFD_LINK = "anon_inode:[eventfd]"


def parse(data: bytes, flags: int, count: int = 0) -> pb.HandoverRequest:
    """Parse one packet with `count` descriptors.

    Errors: MessageTooLarge for a truncated one, or for too many descriptors; BadStream.
    """
    if flags & socket.MSG_TRUNC:
        raise MessageTooLarge(
            f"the packet is larger than {PACKET_LIMIT_BYTES} bytes: describe fewer doorbells"
        )
    if flags & socket.MSG_CTRUNC or count > DESCRIPTOR_LIMIT:
        raise MessageTooLarge(
            f"the packet has more than {DESCRIPTOR_LIMIT} descriptors, or this service has no free"
            " descriptors: send fewer, or try again later"
        )
    try:
        return pb.HandoverRequest.FromString(data)
    except DecodeError as error:
        raise BadStream("the packet does not parse as a HandoverRequest") from error


def check_indexes(request: pb.HandoverRequest, count: int) -> None:
    """Check the regions, and that the indexes match the descriptors one to one.

    Errors: MemoryMissing, MemoryRefused.
    """
    if not request.regions:
        raise MemoryMissing("the request describes no memory: at least one region is needed")
    if len(request.regions) > REGION_LIMIT:
        raise MemoryRefused(
            f"{len(request.regions)} regions came: at most {REGION_LIMIT} are allowed"
        )
    addresses = [region.guest_address for region in request.regions]
    if addresses != sorted(addresses):
        raise MemoryRefused("the regions are not in ascending order of guest_address: sort them")
    used = {region.descriptor_index for region in request.regions}
    for doorbell in request.doorbells:
        used |= {doorbell.kick_index, doorbell.call_index}
    if request.HasField("config_call_index"):
        used.add(request.config_call_index)
    if request.HasField("inflight_log_index"):
        used.add(request.inflight_log_index)
    if request.HasField("line_index"):
        used.add(request.line_index)
    if used != set(range(count)):
        raise MemoryRefused(
            f"{count} descriptors came, and the request uses the indexes"
            f" {', '.join(map(str, sorted(used)))}: use each descriptor"
        )


def check_doorbells(
    request: pb.HandoverRequest, descriptors: Sequence[int], queues: int
) -> dict[int, QueueEventfds]:
    """Return the doorbells by queue. Errors: BadDoorbell."""
    doorbells: dict[int, QueueEventfds] = {}
    for entry in request.doorbells:
        if entry.queue >= queues:
            raise BadDoorbell(
                f"a doorbell is for queue {entry.queue}, and the device has {queues} queues"
            )
        if entry.queue in doorbells:
            raise BadDoorbell(f"queue {entry.queue} has two doorbells: send one")
        doorbell = QueueEventfds(descriptors[entry.kick_index], descriptors[entry.call_index])
        check_kick(doorbell.kick, f"kick of queue {entry.queue}")
        check_eventfd(doorbell.call, f"call of queue {entry.queue}")
        doorbells[entry.queue] = doorbell
    return doorbells


def check_eventfd(descriptor: int, name: str) -> None:
    """Check that a descriptor is a non-blocking eventfd. Errors: BadDoorbell."""
    kind = str(Path(f"/proc/self/fd/{descriptor}").readlink())
    if kind != EVENTFD_LINK:
        raise BadDoorbell(f"{name} is {printable(kind)}, not an eventfd")
    if not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_NONBLOCK:
        raise BadDoorbell(f"{name} is a blocking eventfd: make it with EFD_NONBLOCK")


def check_kick(descriptor: int, name: str) -> None:
    """Check that a descriptor is an eventfd that one read empties. Errors: BadDoorbell.

    A semaphore with 2^64 signals would keep its reader busy for as long as its driver likes.
    """
    check_eventfd(descriptor, name)
    about = Path(f"/proc/self/fdinfo/{descriptor}").read_text()  # Linux 6.5 tells.
    if "eventfd-semaphore: 1" in about:
        raise BadDoorbell(f"{name} is a semaphore: make it without EFD_SEMAPHORE")
