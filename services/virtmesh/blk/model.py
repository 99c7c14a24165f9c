"""The virtio block device (virtio 1.4, 5.2): configuration and features of a disk.

https://docs.oasis-open.org/virtio/virtio/v1.4/virtio-v1.4.html

Requests are parsed and executed by virtmesh_native.BlkDevice; its threads never come here.

Threats and known gaps:
- A driver writes anything to the rings and to the configuration: rings and requests are checked
  natively, whole, before they are executed; registers are checked by their table.
- A driver can fill the image and wear the storage under it: there are no quotas and no rate limits.
- Whoever reaches the address of BlockAdminService can resize and lock the disk: it has no
  authentication of its own, so listen on a unix socket or a private network.
- The image belongs to the device while it is open: it is locked as QEMU locks images, and by flock.
  Another program may ignore both; a truncated image then gives I/O errors, not lost writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_native import BlkDevice, Interrupt

from virtmesh.blk.image_watch import ImageWatch
from virtmesh.blk.settings import NONE, OFFERED, OFFERED_WRITABLE, BlkOptions
from virtmesh.blk.write_log import refuse_resize
from virtmesh.mmio.device import Execution
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.errors import BadSize, BlockIOError, BlockReadOnly, WouldShrink
from virtmesh_common.blk.spec import BlkFeature
from virtmesh_common.errors import BadValue, DriverViolation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import IntFlag

    from virtmesh_native import GuestMemory, QueueConfig, RingState

    from virtmesh.mmio.kept_state import KeptState
    from virtmesh.virtio.device import SharedMemory
    from virtmesh_common.registers import Register

__all__ = ["BlkModel", "BlkOptions"]

FILE_SIZE_MAX = (1 << 63) - 1
"""Largest size of a file that the system can name, in bytes (off_t)."""
HEADS, TRACK_SECTORS, CYLINDERS_MAX = 16, 63, 16383
"""The geometry that ATA disks report when they are larger than it can say."""
PHYSICAL_BLOCK = 4096
"""Smallest write that page caches and disks do without reading first, in bytes."""
MAX_DISCARD_SECTORS = MAX_WRITE_ZEROES_SECTORS = 0x7FFFFF
"""Most sectors in one segment of a discard or write-zeroes: just under 4 GiB."""
MAX_DISCARD_SEG = MAX_WRITE_ZEROES_SEG = 32
"""Most segments in one discard or write-zeroes."""


class BlkModel:
    """A disk. Implements virtmesh.virtio.device.VirtioDevice.

    Errors: those of virtmesh_native.BlkDevice.
    """

    kind = "blk"
    device_id = blk.VIRTIO_ID_BLOCK
    family: type[IntFlag] = BlkFeature
    config = blk.CONFIG
    shared_memory: Mapping[int, SharedMemory] = {}
    identity: Mapping[str, str] = {}
    kept_state_bytes = 0

    def __init__(self, name: str, options: BlkOptions) -> None:
        self.name = name
        self.options = options
        self.queue_size_max = (options.queue_size,) * options.queues
        self.interrupt = Interrupt()
        self.config_generation = 0
        self._features: int | None = None
        self.disk = BlkDevice(
            str(options.image),
            read_only=options.read_only,
            serial=options.serial,
            block_size=options.block_size,
            seg_max=options.seg_max,
            size_max=options.size_max,
            max_discard_sectors=MAX_DISCARD_SECTORS,
            max_discard_seg=MAX_DISCARD_SEG,
            max_write_zeroes_sectors=MAX_WRITE_ZEROES_SECTORS,
            max_write_zeroes_seg=MAX_WRITE_ZEROES_SEG,
            threads=options.threads,
            queues=options.queues,
            hold_failed=options.on_error == "stop",
            write_log=str(options.write_log) if options.write_log else None,
            poll_us=options.poll_limit_us,
            poll_on_one_processor=options.poll_us is not None,
            bypass_cache=options.cache == NONE,
            engine=options.engine,
            queue_size=options.queue_size,
        )
        self.watch = ImageWatch(self.disk, options.image, read_only=options.read_only)
        """Reports failures and trouble with the image, once it is started."""
        self._capacity = self.disk.capacity
        """The capacity as drivers see it: it moves together with the generation (2.5.1)."""
        physical = max(PHYSICAL_BLOCK // options.block_size, 1)
        self._fixed: dict[Register, int] = {
            blk.SIZE_MAX: options.size_max,
            blk.SEG_MAX: options.seg_max,
            blk.HEADS: HEADS,
            blk.SECTORS: TRACK_SECTORS,
            blk.BLK_SIZE: options.block_size,
            blk.PHYSICAL_BLOCK_EXP: physical.bit_length() - 1,
            blk.ALIGNMENT_OFFSET: 0,
            blk.MIN_IO_SIZE: physical,
            blk.OPT_IO_SIZE: 0,
            blk.UNUSED0: 0,
            blk.NUM_QUEUES: options.queues,
            blk.MAX_DISCARD_SECTORS: MAX_DISCARD_SECTORS,
            blk.MAX_DISCARD_SEG: MAX_DISCARD_SEG,
            blk.DISCARD_SECTOR_ALIGNMENT: max(options.block_size, PHYSICAL_BLOCK) // blk.SECTOR,
            blk.MAX_WRITE_ZEROES_SECTORS: MAX_WRITE_ZEROES_SECTORS,
            blk.MAX_WRITE_ZEROES_SEG: MAX_WRITE_ZEROES_SEG,
            blk.WRITE_ZEROES_MAY_UNMAP: 1,
            blk.UNUSED1: 0,
        }
        self.reset()

    # -- Features and configuration space -----------------------------------------------------

    @property
    def device_features(self) -> int:
        """The features to offer now: a read-only disk has no discard (5.2.6.2)."""
        offered = OFFERED | (
            BlkFeature.VIRTIO_BLK_F_RO if self.disk.read_only else OFFERED_WRITABLE
        )
        return int(offered) & ~self.options.without

    def missing_feature(self, features: int) -> str:
        """Name a feature that the subset lacks: none, any subset makes a disk."""
        return ""

    def take_kept(self, state: KeptState | None) -> None:
        """Keep nothing: what a disk has is in its image."""

    def negotiate(self, features: int) -> None:
        """Take the features: without FLUSH each write is stable when it completes (5.2.5.2)."""
        self._features = features
        self.disk.activate(features)
        self.disk.write_back = bool(features & BlkFeature.VIRTIO_BLK_F_FLUSH)

    def reset(self) -> None:
        """Forget the features; the cache mode after a reset is write-back."""
        self._features = None
        self.disk.write_back = True

    def read_config(self, field: Register) -> int:
        """Read a field of the configuration space (5.2.4)."""
        if field is blk.CAPACITY:
            return self._capacity // blk.SECTOR
        if field is blk.CYLINDERS:
            sectors = self._capacity // blk.SECTOR
            return min(sectors // (HEADS * TRACK_SECTORS), CYLINDERS_MAX)
        if field is blk.WRITEBACK:
            return int(self.disk.write_back)
        return self._fixed[field]

    def write_config(self, field: Register, value: int) -> None:
        """Write the one field that can be written: `writeback` (5.2.6.1)."""
        if not (self._features or 0) & BlkFeature.VIRTIO_BLK_F_CONFIG_WCE:
            raise DriverViolation(
                f"{field.name}: VIRTIO_BLK_F_CONFIG_WCE was not negotiated (5.2.6.1)"
            )
        if value > 1:
            raise BadValue(f"{field.name}: {value:#x} is neither 0 nor 1 (5.2.5)")
        self.disk.write_back = bool(value)

    # -- Queues ---------------------------------------------------------------------------------

    def start_queue(
        self, index: int, memory: GuestMemory, config: QueueConfig, kick: int | None
    ) -> None:
        """Serve a queue from now on."""
        self.disk.start_queue(index, memory, config, self.interrupt, kick)

    def kick(self, index: int) -> None:
        """Look at a queue now."""
        self.disk.kick(index)

    def request_stop(self, index: int) -> None:
        """Begin to stop a queue."""
        self.disk.request_stop(index)

    def abandon(self, index: int) -> None:
        """Begin to stop a queue for a reset."""
        self.disk.abandon(index)

    def stuck(self, index: int) -> str:
        """Return the request of a queue that is executed longest: type, sector, and since when."""
        oldest = self.disk.oldest(index)
        return str(execution(*oldest)) if oldest else ""

    def has_held(self, index: int) -> bool:
        """Say whether a queue has requests that are held, to be tried again."""
        return self.disk.holds(index)

    def longest(self) -> Execution | None:
        """Return the request of all queues that is executed longest, if there is one."""
        oldest = filter(None, map(self.disk.oldest, range(self.options.queues)))
        return max((execution(*one) for one in oldest), key=lambda one: one.seconds, default=None)

    def is_stopped(self, index: int) -> bool:
        """Say whether a queue is stopped."""
        return self.disk.is_stopped(index)

    def queue_state(self, index: int) -> RingState | None:
        """Return where a stopped queue goes on; None if it was never served."""
        return self.disk.queue_state(index)

    def join(self, index: int, seconds: float) -> bool:
        """Wait until a queue is stopped, at most that long; True if it is."""
        return self.disk.join(index, seconds)

    # -- What the owner does (BlockAdminService); these may wait, and run on any thread ----------

    def resize(self, capacity: int, *, allow_shrink: bool) -> int:
        """Change the size of the image; returns the size before. Call `announce_change` after.

        Errors: BadSize, WouldShrink, BlockReadOnly, NotResizable, BlockIOError.
        """
        refuse_resize(self.disk, self.name)
        before = self.disk.capacity
        if capacity > FILE_SIZE_MAX:
            raise BadSize(
                f"{capacity} bytes are more than a file can have: choose at most {FILE_SIZE_MAX}",
                size_bytes=capacity,
            )
        if capacity == 0 or capacity % self.options.block_size:
            raise BadSize(
                f"{capacity} bytes is no size for {self.name}: choose a multiple of"
                f" {self.options.block_size}, the block size",
                size_bytes=capacity,
            )
        if self.disk.read_only:
            raise BlockReadOnly(f"{self.name} is read-only, so its size stays")
        if capacity < before and not allow_shrink:
            raise WouldShrink(
                f"{self.name} has {before} bytes; {capacity} would cut data off: allow shrinking if"
                " you mean it"
            )
        try:
            self.disk.resize(capacity)
        except BlockIOError as error:
            if error.metadata.get("cause") != "EFBIG":
                raise
            raise BadSize(
                f"{capacity} bytes are more than a file can have in the file system of the image",
                size_bytes=capacity,
            ) from error
        return before

    def announce_change(self) -> None:
        """Tell the driver that the configuration has changed (5.2.6.2). On the loop's thread."""
        self._capacity = self.disk.capacity
        self.config_generation = self.config_generation + 1 & 0xFFFF_FFFF
        if self._features is not None:  # No notifications to a device in reset (2.4.1).
            self.interrupt.raise_config()

    # -- Counters, end ------------------------------------------------------------------

    @property
    def notifications(self) -> int:
        """Notifications received by eventfd."""
        return self.disk.notifications

    @property
    def requests(self) -> int:
        """Requests completed, whatever their outcome."""
        return sum(
            ok + failed + unknown for ok, failed, unknown, _, _ in self.disk.stats().values()
        )

    def close(self) -> None:
        """Stop everything and release the image."""
        self.watch.stop()
        self.disk.close()
        self.watch.join()


def execution(kind: str, sector: int, seconds: float, held: str) -> Execution:
    """Return a request that is executed: type, first sector, for how long, why it is held."""
    return Execution(f"{kind} at sector {sector}", seconds, held)
