"""The resources of a driver, and what they take (virtio 1.4, 5.7.6.8).

A resource has either pixels of its own, to which the driver transfers, or is a blob: a name for
guest memory that is shown without a transfer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_native import Backing, Surface

from virtmesh.gpu.refused import Refused
from virtmesh_common.errors import MemoryRefused
from virtmesh_common.gpu.spec import FORMAT_NAMES, MEM_ENTRY, PIXEL, Response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_native import GuestMemory

SIDE_MAX = 16384
"""Largest width and height of a resource, in pixels."""
COUNT_MAX = 16384
"""Most resources: each costs some memory beside its pixels."""
ENTRIES_MAX = 16384
"""Most entries of one backing. A driver with pages of 4 KiB can back 64 MiB so."""
ENTRIES_IN_ALL_MAX = 1 << 20
"""Most entries of all backings together."""


@dataclass
class Resource:
    """One resource. `size` is what it counts for, in bytes; of a blob the size that it has."""

    number: int
    size: int
    surface: Surface | None = None
    """The pixels; None for a blob."""
    width: int = 0
    height: int = 0
    backing: Backing | None = None
    """None as well while the control queue is stopped."""
    pieces: bytes = b""
    """The entries of the backing, as the driver gave them."""

    @property
    def entries(self) -> int:
        """Entries of the backing."""
        return len(self.pieces) // MEM_ENTRY.size

    def read(self, memory: GuestMemory, length: int) -> bytes | None:
        """Copy the first bytes of the backing out; None if it has fewer. Errors: MemoryRefused."""
        parts = []
        for address, size in MEM_ENTRY.iter_unpack(self.pieces):
            parts.append(memory.read(address, min(size, length)))
            length -= len(parts[-1])
            if not length:
                return b"".join(parts)
        return None


class Resources:
    """All resources of the driver. `memory_max` limits their pixels together, in bytes."""

    def __init__(self, memory_max: int) -> None:
        self.memory_max = memory_max
        self.memory = 0
        """Bytes of the pixels of all resources."""
        self._all: dict[int, Resource] = {}
        self._entries = 0

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Resource]:
        """Give each of them."""
        return iter(self._all.values())

    def clear(self) -> None:
        """Forget all of them: the device is reset."""
        self._all.clear()
        self.memory = self._entries = 0

    def find(self, number: int) -> Resource:
        """Return a resource. Refuses one that is not there."""
        resource = self._all.get(number)
        if resource is None:
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID, f"there is no resource {number}"
            )
        return resource

    def create(
        self, number: int, pixel_format: int, width: int, height: int, *, pictures: int = 0
    ) -> None:
        """Make a 2D resource. Refuses a bad size or format, and one that takes too much.

        `pictures` are the bytes that scanouts take.
        """
        self._check_new(number)
        if pixel_format not in FORMAT_NAMES:
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
                f"{pixel_format} is no format of pixels",
            )
        if not (0 < width <= SIDE_MAX and 0 < height <= SIDE_MAX):
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
                f"{width}x{height} is no size of a resource: each side is 1 to {SIDE_MAX}",
            )
        size = width * height * PIXEL
        self.check_room(width, height, taken=self.memory + pictures)
        surface = Surface(width, height, pixel_format)
        self._all[number] = Resource(number, size, surface, width, height)
        self.memory += size

    def check_room(self, width: int, height: int, *, taken: int) -> None:
        """Refuse pixels that take more than there is."""
        size = width * height * PIXEL
        if taken + size > self.memory_max:
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY,
                f"{width}x{height} takes {size} bytes, and {taken} of {self.memory_max} are"
                " taken: start the device with a larger --memory-max",
            )

    def create_blob(self, number: int, size: int) -> Resource:
        """Make a blob of guest memory, which has no backing yet."""
        self._check_new(number)
        if not size:
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, "the blob has a size of 0"
            )
        blob = self._all[number] = Resource(number, size)
        return blob

    def _check_new(self, number: int) -> None:
        """Refuse a number that can't be that of a new resource."""
        if not number or number in self._all:
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID,
                f"resource {number} is there already" if number else "0 is no resource",
            )
        if len(self._all) >= COUNT_MAX:
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, f"there are {COUNT_MAX} resources"
            )

    def destroy(self, resource: Resource) -> None:
        """Forget a resource."""
        self.detach(resource)
        del self._all[resource.number]
        if resource.surface is not None:
            self.memory -= resource.size

    def attach(self, resource: Resource, memory: GuestMemory, entries: bytes) -> None:
        """Give a resource its backing. Refuses a second one, too many entries, bad addresses."""
        count = len(entries) // MEM_ENTRY.size
        if resource.backing is not None:
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_UNSPEC,
                f"resource {resource.number} has a backing: detach it first",
            )
        if self._entries + count > ENTRIES_IN_ALL_MAX:
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY,
                f"the backings of all resources have more than {ENTRIES_IN_ALL_MAX} entries",
            )
        try:
            resource.backing = Backing(memory, entries)
        except MemoryRefused as error:
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
                f"the backing of resource {resource.number}: {error.message}",
            ) from error
        resource.pieces = entries
        self._entries += count

    def suspend(self) -> None:
        """Let go of guest memory: the control queue is stopped."""
        for resource in self._all.values():
            resource.backing = None

    def resume(self, memory: GuestMemory) -> None:
        """Take the backings from guest memory, which may be another one. One outside is none."""
        for resource in self._all.values():
            if resource.pieces and resource.backing is None:
                try:
                    resource.backing = Backing(memory, resource.pieces)
                except MemoryRefused:
                    self.detach(resource)

    def detach(self, resource: Resource) -> None:
        """Take a resource's backing away, if it has one."""
        resource.backing = None
        self._entries -= resource.entries
        resource.pieces = b""
