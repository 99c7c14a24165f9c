# ruff: noqa: PYI021 - this stub is where the module is documented
"""The native half of virtmesh: rings in guest memory, the block data path, and the CPU's board.

Errors are raised as the classes of virtmesh_native.errors; ValueError and OverflowError are misuse
by the caller. Addresses are guest physical, sizes in bytes. Calls that may wait (join, flush,
resize, close) release the GIL.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self, TypeAlias, final

@final
class GuestMemory:
    """Guest physical memory, mapped shared from sealed memfds.

    `regions` are (descriptor, guest_address, size, file_offset). Descriptors are duplicated.
    Errors: MemoryUnsealed without F_SEAL_SHRINK; MemoryTooSmall when a file is shorter than its
    region; MemoryRefused for no, overlapping, unaligned or too many (8) regions, and for what is no
    open descriptor.
    """

    def __new__(cls, regions: Sequence[tuple[int, int, int, int]]) -> Self: ...
    @property
    def size(self) -> int:
        """Sum of the sizes of the regions."""
    @property
    def lost_fd(self) -> int | None:
        """A non-blocking eventfd, readable once a huge page went away under its mapping.

        That region reads as zeroes then. None for memory that can't go away.
        """
    def read(self, address: int, length: int) -> bytes:
        """Copy bytes out. Errors: MemoryRefused outside the regions."""
    def write(self, address: int, data: bytes) -> None:
        """Copy bytes in. Errors: MemoryRefused outside the regions."""

@final
class FrontEndMemory:
    """Guest memory as a vhost-user front end hands it over: its files need not be sealed.

    `regions` and errors are those of GuestMemory, without MemoryUnsealed. If a file shrinks later,
    its memory reads as zeroes, and nothing else happens. Keep this object for as long as
    queues run on `guest_memory`.
    """

    def __new__(cls, regions: Sequence[tuple[int, int, int, int]]) -> Self: ...
    @property
    def guest_memory(self) -> GuestMemory:
        """The memory, for queues."""
    @property
    def lost_fd(self) -> int:
        """A non-blocking eventfd, readable once a file was found to be shorter than its region."""

@final
class QueueConfig:
    """Size, addresses and negotiated features of a virtqueue (virtio 1.4, 2.7 and 2.8).

    Of a split queue, `size` is a power of two up to 32768, and `driver_area` is aligned to 2; of a
    `packed` one, `size` is 1 to 32768, and `driver_area` is aligned to 4. `descriptor_area` is
    aligned to 16, `device_area` to 4. The queue that is made with it checks this, and that each
    area is inside one region of guest memory.
    `state` is where the device side continues, as returned by `DeviceQueue.state` or
    `BlkDevice.queue_state`; `base` is the same as a vring base. With neither, the driver has just
    cleared the rings. The driver side ignores both. Errors: ValueError if both are given.
    With a `log`, the device side logs the chains that it pops and pushes. If the log is in use, the
    chains in flight are resubmitted first, and `state` and `base` are ignored.
    """

    def __new__(
        cls,
        *,
        size: int,
        descriptor_area: int,
        driver_area: int,
        device_area: int,
        event_idx: bool,
        indirect: bool,
        packed: bool = False,
        base: int | None = None,
        state: RingState | None = None,
        log: InFlightLog | None = None,
    ) -> Self: ...

@final
class RingState:
    """Where a device side continues on a ring: the state that an earlier one left.

    `next_avail` is the next index to pop, `next_used` the next one to use; a packed ring has a wrap
    counter for each. A split ring keeps its used index in the ring itself, so `next_used`,
    `avail_wrap` and `used_wrap` are None. Two states are equal if format and fields are.
    """

    VERSION: ClassVar[int]
    """The version that `to_bytes` writes and `from_bytes` reads."""
    @staticmethod
    def initial(*, packed: bool) -> RingState:
        """Return the state of a ring that its driver has just cleared."""
    @staticmethod
    def from_vring_base(value: int, *, packed: bool, size: int | None = None) -> RingState:
        """Decode a vring base of vhost-user (SET_VRING_BASE, GET_VRING_BASE).

        With a `size`, it is checked against a ring of that many descriptors. Errors:
        DriverViolation for a split base of more than 16 bits, and for a packed one outside the
        ring or with positions more than one lap apart.
        """
    @staticmethod
    def from_bytes(data: bytes) -> RingState:
        """Decode what `to_bytes` returned. Errors: ValueError for any other bytes."""
    def to_bytes(self) -> bytes:
        """Encode: 8 bytes, little-endian, with a version."""
    @property
    def packed(self) -> bool:
        """True for the state of a packed ring."""
    @property
    def next_avail(self) -> int:
        """Next index to pop."""
    @property
    def next_used(self) -> int | None:
        """Next index to use, of a packed ring."""
    @property
    def avail_wrap(self) -> bool | None:
        """Wrap counter of the next index to pop, of a packed ring."""
    @property
    def used_wrap(self) -> bool | None:
        """Wrap counter of the next index to use, of a packed ring."""
    @property
    def vring_base(self) -> int:
        """The vring base of vhost-user.

        Split ring: the next available index. Packed ring: bits 0 to 14 are the next available
        index, bit 15 its wrap counter, bits 16 to 30 the next used index, bit 31 its wrap counter.
        """
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Recorder:
    """A flight recorder: the last events of one side of one device (virtmesh.trace.v1).

    Any thread records, without waiting; the oldest events are overwritten. `capacity` is rounded up
    to a power of two; 0: it is off, and records nothing. Each event takes 40 bytes.
    Errors: ValueError for a capacity above CAPACITY_MAX, for a kind of event that is none, and for
    a detail or queue above 127.
    """

    CAPACITY_MAX: ClassVar[int]
    PAGE_MAX: ClassVar[int]
    """Most events of one page."""
    def __new__(cls, capacity: int) -> Self: ...
    @property
    def capacity(self) -> int:
        """Events that are kept."""
    @property
    def oldest(self) -> int:
        """Number of the oldest event that is kept."""
    @property
    def next(self) -> int:
        """Number of the next event."""
    @staticmethod
    def kinds() -> dict[str, int]:
        """Return the number of each kind of event, by its name (EVENT_KIND_* of trace.proto)."""
    def record(
        self,
        kind: int,
        *,
        detail: int = 0,
        queue: int = 0,
        token: int = 0,
        value: int = 0,
        extra: int = 0,
        text: str | None = None,
    ) -> None:
        """Record an event that happens now; the columns of virtmesh.trace.v1.Page."""
    def record_registers(
        self,
        time_ns: int,
        offsets: list[int],
        ops: list[int],
        values: list[int],
        results: list[int],
    ) -> None:
        """Record the executed accesses of a batch (virtmesh.register.v1) with the time it began.

        `time_ns` is of time.monotonic_ns(). The shortest column, `results`, says how many they are.
        """
    def read(
        self, from_sequence: int, limit: int
    ) -> tuple[
        int, int, tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes], list[tuple[int, str]]
    ]:
        """Read at most `limit` events (PAGE_MAX) from a number on, up to the first hole.

        Returns the number of the first event, how many were lost before it, columns, and texts by
        number. The columns are little-endian arrays: times (64 bits), kinds, details, queues (8),
        tokens (32), values, extras (64).
        """

@final
class InFlightLog:
    """The in-flight log of one queue (vhost-user, "Inflight I/O tracking"), in memory of its own.

    `address` in it is a multiple of 8; `capacity` is how many descriptors the log has room for: the
    queue size, or more. A log that is all zeroes is not in use. The queue checks it.
    """

    def __new__(cls, memory: GuestMemory, address: int, capacity: int) -> Self: ...
    @staticmethod
    def length(capacity: int, *, packed: bool) -> int:
        """Bytes of a log, a multiple of 64."""
    @property
    def in_use(self) -> bool:
        """True if a queue uses it, or used it until its process ended. Errors: DriverViolation."""
    def in_flight(self, *, packed: bool) -> int:
        """Count the chains that it has in flight. Errors: DriverViolation.

        What was used last may be among them, if the device ended before it noted that.
        """
    def forget(self) -> None:
        """Mark the log unused: its queue starts from its state. Errors: DriverViolation."""

@final
class Faults:
    """Faults on demand of one device. Those of an Interrupt: all of its objects are one table."""

    MAX: ClassVar[int]
    """Most faults at a time."""
    DELAY_MAX_US: ClassVar[int]
    """Longest delay, in microseconds."""
    def add(
        self,
        kind: int,
        *,
        seed: int,
        queue: int | None = None,
        types: int = 0,
        sectors: tuple[int, int] | None = None,
        after: int = 0,
        every: int = 1,
        probability: float = 1.0,
        limit: int = 0,
        delay: tuple[int, int, int] | None = None,
        size: int | None = None,
    ) -> int | None:
        """Order a fault (virtmesh.fault.v1.Spec); returns its number, or None if there is no room.

        `types` are bits by the number of a request's type; 0: all. `delay` is from, to, and the
        mean of an exponential one (0: uniform), in microseconds; `size` is in bytes.
        Errors: ValueError for an unknown kind; OverflowError.
        """
    def remove(self, number: int) -> tuple[int, int, int, int, str] | None:
        """Take a fault back, and let go on what it holds back; returns how it stood, as `list`."""
    def list(self) -> list[tuple[int, int, int, int, str]]:
        """Return number, events seen, taken and held back, and what it did last, of each."""
    def are_ordered(self, kinds: int) -> bool:
        """Say whether a fault of one of some kinds, as bits by their numbers, is ordered."""
    def pause(self, number: int) -> float | None:
        """Return the seconds before the next event of a fault that makes its events itself.

        None without it, and once it can take no more.
        """

@final
class Interrupt:
    """InterruptStatus of one device, and the eventfds that signal it. Lock-free.

    Raising sets the bits, counts, signals the call eventfd and that of the line (if set) and makes
    `wake_fd` readable (while `observed`), as does each change of the bits. It never waits, whatever
    the driver does to its eventfds.
    """

    def __new__(cls) -> Self: ...
    recorder: Recorder
    """The flight recorder of the device, to which the native data path records as well: one that is
    off until it is set. Set it once, before a queue starts. Errors: ValueError the second time."""
    @property
    def faults(self) -> Faults:
        """The faults that were ordered of the device."""
    def offer_fault(self, number: int) -> bool:
        """Offer an event to a fault that makes its events itself; True if it takes it."""
    def take_fault(self, kinds: int) -> int:
        """Offer an event to the faults of some kinds, as bits by their numbers.

        Returns the kind of the one that takes it, which is recorded; 0 if none does.
        """
    def take_faults(self, kinds: int, count: int) -> list[tuple[int, int]]:
        """Offer so many events; return the index and the kind of each that is taken."""
    def loses_notification(self, queue: int) -> bool:
        """Say whether a fault loses a notification of the driver, which has come."""
    def takes_chain(self, queue: int) -> bool:
        """Say whether the next chain of a queue may be taken: not once a fault got it stuck."""
    def is_stuck(self, queue: int) -> bool:
        """Say whether a fault has got a queue stuck."""
    @property
    def status(self) -> int:
        """Pending bits: 1 used buffer, 2 configuration change."""
    @property
    def sequence(self) -> int:
        """Interrupts raised since creation; reset does not clear it."""
    @property
    def suppressed(self) -> int:
        """Used-buffer interrupts not raised because the driver asked for none."""
    @property
    def fault(self) -> str | None:
        """Why the device needs a reset (DEVICE_NEEDS_RESET), or None."""
    @property
    def wake_fd(self) -> int:
        """A non-blocking eventfd, readable after a raise while observed. The reader drains it."""
    observed: bool
    """True to have wake_fd signalled: set while someone watches interrupts by RPC."""
    def acknowledge(self, bits: int) -> None:
        """Clear pending bits (InterruptACK)."""
    def raise_config(self) -> None:
        """Raise a configuration change interrupt."""
    def raise_used(self, queue: int) -> None:
        """Raise a used-buffer interrupt for a queue."""
    def set_level(self, sources: int) -> None:
        """Set the sources (bits) that hold a level-triggered line: asserted while there is one.

        `status` holds them, `sequence` counts the rises of the line; every change signals
        `wake_fd`. For devices that are not virtio devices, from one thread.
        """
    def set_fault(self, reason: str) -> None:
        """Set DEVICE_NEEDS_RESET: keeps the first reason, raises a configuration interrupt."""
    def violated(
        self,
        rule: str,
        text: str,
        *,
        detail: int = 0,
        queue: int = 0,
        token: int = 0,
        value: int = 0,
        accessed: bool = False,
    ) -> None:
        """Count that the driver broke a rule; the first time is recorded as VIOLATION.

        `text` says what it did; the other arguments are those of the event (trace.proto).
        `accessed`: by an access, so by the request of a RegisterChannel that is being executed.
        """
    def violations(
        self,
    ) -> list[tuple[str, int, str, int | None, int, int, int, int, int, int | None]]:
        """Return the rules that were broken, by the time of the first violation.

        Of each: rule, count, and of the first time text, number in the trace (None without a
        recorder), time (CLOCK_MONOTONIC, ns), detail, queue, token and value, and the tag of
        the request that did it (None for what came another way).
        """
    def clear_violations(self) -> None:
        """Forget the violations: another driver begins."""
    def set_call(self, queue: int, descriptor: int | None) -> None:
        """Set or clear the eventfd, or the socket, of a queue (duplicated). Errors: BadDoorbell."""
    def set_config_call(self, descriptor: int | None) -> None:
        """Set or clear the same of configuration changes (duplicated). Errors: BadDoorbell."""
    def set_line_call(self, descriptor: int | None) -> None:
        """Set or clear the eventfd of the line (duplicated). Errors: BadDoorbell.

        It is signalled when the line rises, when a cause is added, and when it falls, unless an
        answer of a RegisterChannel tells that.
        """
    def signal(self, descriptor: int) -> None:
        """Signal an eventfd of the driver once, without waiting for it. Errors: BadDoorbell."""
    def reset(self) -> None:
        """Clear pending bits and fault; eventfds stay."""

@final
class RegisterChannel:
    """The device's end of a register channel (virtmesh.memory.v1). For one thread.

    It duplicates the descriptor of the connection, a SOCK_SEQPACKET socket. Errors: OSError; of
    the methods ConnectionError when the driver has gone or the channel is closed.
    """

    def __new__(cls, descriptor: int, interrupt: Interrupt) -> Self: ...
    def receive(self, wait_us: int) -> tuple[int, list[int], list[int], list[int]] | None:
        """Take a request: tag, offsets, ops, values. None if none comes within the time.

        The time is in microseconds; the GIL is released meanwhile. Until the request is answered,
        the interrupt's line eventfd is not signalled for what this thread does to the line.
        Errors: BadStream for a malformed packet.
        """
    def answer(self, tag: int, values: list[int], refused: tuple[str, str] | None = None) -> bool:
        """Answer with a value for each executed access, and reason and message of a refused one.

        The state of the line as of now goes with it, and whether a rule was broken for the first
        time since the last answer. False if the driver does not read: the answer
        is kept, and nothing may be received until `flush` has sent it.
        """
    def set_executing(self, tag: int | None) -> None:
        """Say that the request of this tag is being executed, or that other work is done first.

        `receive` and `answer` say so themselves.
        """
    def flush(self) -> bool:
        """Send the answer that is kept. True if none is left."""
    @property
    def ended(self) -> bool:
        """True once the driver will send nothing more."""
    def close(self) -> None:
        """Close the duplicate."""

@final
class DriverQueue:
    """The driver side of a virtqueue. Not for use by two threads at once.

    `indirect_area` is where indirect descriptor tables go (size * indirect_entries * 16 bytes,
    aligned to 16), or None for direct chains only. Events are recorded as those of queue `index`.
    Construction clears the rings. Errors: ValueError for a `config` that is refused.
    """

    def __new__(
        cls,
        memory: GuestMemory,
        config: QueueConfig,
        *,
        indirect_area: int | None = None,
        indirect_entries: int = 0,
        recorder: Recorder | None = None,
        index: int = 0,
    ) -> Self: ...
    @property
    def free(self) -> int:
        """Descriptors that are free."""
    @property
    def in_flight(self) -> int:
        """Chains added and not popped."""
    def add(
        self, readable: Sequence[tuple[int, int]], writable: Sequence[tuple[int, int]]
    ) -> int | None:
        """Add one chain of (address, length) buffers and publish it.

        Returns its token, unique among chains in flight; None when there is no room. Errors:
        ValueError for an empty chain or a zero length, for what is outside guest memory, and for
        more buffers or bytes than any chain has; RingCorrupt.
        """
    def should_notify(self) -> bool:
        """Say whether the device wants a notification for chains added since the last call."""
    def can_pop(self) -> bool:
        """Say whether a used chain is waiting to be popped."""
    def pop_used(self, limit: int = 256) -> list[tuple[int, int]]:
        """Pop used chains: (token, bytes written by the device). Errors: RingCorrupt."""
    def enable_interrupts(self) -> bool:
        """Enable the interrupt for the next used chain; True if one waits already."""
    def disable_interrupts(self) -> None:
        """Disable interrupts. A hint: some may still come."""

@final
class DeviceQueue:
    """The device side of a virtqueue, for device models in Python and for tests.

    Every value the driver can change is read once and checked. Errors: RingCorrupt when the
    driver violated the ring's rules; the queue is unusable then. DriverViolation, at construction,
    for a `config` that is refused. Events are recorded as those of queue `index`.
    """

    def __new__(
        cls,
        memory: GuestMemory,
        config: QueueConfig,
        *,
        recorder: Recorder | None = None,
        index: int = 0,
    ) -> Self: ...
    def pop(
        self,
    ) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]]] | None:
        """Pop the next available chain: (token, readable buffers, writable buffers)."""
    def push(self, head: int, written: int) -> None:
        """Mark a chain used. Errors: ValueError for one that is not in flight."""
    def push_by(self, head: int, written: int, interrupt: Interrupt) -> None:
        """Like `push`, unless a fault of the interrupt's device tells something else of it."""
    @property
    def state(self) -> RingState:
        """The state from which another device side continues.

        It is valid once every popped chain is pushed.
        """
    @property
    def state_in_order(self) -> RingState:
        """The state that makes the next device side pop the chains in flight again.

        For a device that pushes chains in the order in which it popped them.
        """
    @property
    def base(self) -> int:
        """The vring base of `state`."""
    @property
    def base_in_order(self) -> int:
        """The vring base of `state_in_order`."""
    def needs_interrupt(self) -> bool:
        """Say whether the driver wants an interrupt for chains pushed since the last call."""
    def enable_notifications(self) -> bool:
        """Enable the notification of the next available chain; True if one waits already."""
    def disable_notifications(self) -> None:
        """Disable notifications. A hint: some may still come."""

FailedRequest: TypeAlias = tuple[int, str, int, int, int, str, int, str]
"""number (from 1), type, sector, bytes, guest address of its status byte, cause, errno, text.

A cause is the name of an errno, or TRUNCATED, WRITES_LOST, REFUSED, INTERNAL or OTHER.
"""

@final
class WriteLog:
    """The log of what changes a disk, in the format of dm-log-writes."""

    @property
    def entries(self) -> int:
        """Entries that it has."""
    @property
    def trouble(self) -> str | None:
        """Why an entry was not written, if so: from then on every change of the disk fails."""
    def mark(self, text: str) -> None:
        """Put a mark of at most 255 bytes into it. Errors: BlockIOError."""

@final
class BlkDevice:
    """A disk image and its request queues: the data path of virtio-blk (virtio 1.4, 5.2).

    The image is a regular file or a block device node, locked while open: exclusively, or shared
    when `read_only`. Each running queue has a thread that takes requests from the ring; an engine
    executes them, several at a time, without the GIL.
    Once closed, kick, request_stop, abandon and join do nothing, is_stopped and join are True, and
    all else raises ValueError.
    Errors: ImageNotFound, ImageLocked, ImageDenied, BadSize (not a multiple of block_size, or 0),
    ImageError for what is no image; ValueError for a serial that is not at most 20 printable ASCII
    characters, a block_size that is no power of two from 512 to 65536, or threads not from 1 to 64.

    With `hold_failed`, a request that the storage fails is held and tried again each second, where
    that may help. It keeps no reset waiting; a stop of its queue has it tried once more.

    With `write_log`, what changes the disk is recorded in that file, begun anew or gone on with.
    Errors: ImageError for what is no log of this disk.

    The thread of a queue polls its ring for `poll_us` microseconds at most before it sleeps, while
    that wins; where this process may use one processor only, just with `poll_on_one_processor`.

    With `bypass_cache` the image is read and written past the page cache. Errors: ImageError where
    its file system can't; BadSize if it does not end with a block of the storage.
    `engine` is auto, threads, io_uring or null, which moves no bytes; `queue_size` is how many
    requests a queue has at most. Errors: ValueError for another engine; VirtmeshError if there is
    no io_uring for this image.
    """

    def __new__(
        cls,
        path: str,
        *,
        read_only: bool = False,
        serial: str = "",
        block_size: int = 512,
        seg_max: int = 126,
        size_max: int = 0xFFFFFFFF,
        max_discard_sectors: int = 0x7FFFFF,
        max_discard_seg: int = 32,
        max_write_zeroes_sectors: int = 0x7FFFFF,
        max_write_zeroes_seg: int = 32,
        threads: int = 4,
        queues: int = 1,
        hold_failed: bool = False,
        write_log: str | None = None,
        poll_us: int = 50,
        poll_on_one_processor: bool = False,
        bypass_cache: bool = False,
        engine: str = "auto",
        queue_size: int = 256,
    ) -> Self: ...
    @property
    def engine(self) -> str:
        """What executes requests: threads, io_uring or null."""
    @property
    def engine_reason(self) -> str:
        """Why it is not io_uring, where that would be quicker; empty otherwise."""
    @property
    def capacity(self) -> int:
        """Capacity in bytes."""
    @property
    def write_log(self) -> WriteLog | None:
        """The log of what changes the disk, if it has one."""
    @property
    def allocated(self) -> int:
        """Bytes allocated for the image in its file system."""
    @property
    def image_read_only(self) -> bool:
        """True when the image was opened read-only."""
    @property
    def is_block_node(self) -> bool:
        """True when the image is a block device node."""
    read_only: bool
    """True while writes are refused. Setting False raises BlockReadOnly on a read-only image."""
    write_back: bool
    """True: writes are durable after a flush. False: each write is durable when it completes."""
    def activate(self, driver_features: int) -> None:
        """Set the negotiated features, for the queues started from now on."""
    def start_queue(
        self,
        index: int,
        memory: GuestMemory,
        config: QueueConfig,
        interrupt: Interrupt,
        kick: int | None,
    ) -> None:
        """Start serving a queue. `kick` is the driver's eventfd (duplicated), if it has one.

        Errors: BadDoorbell; DriverViolation for a `config` that is refused;
        NoSuchQueue for an index of 64 or more; ValueError for a queue that is not stopped.
        """
    def kick(self, index: int) -> None:
        """Notify a queue, as QueueNotify and Notify do. Does nothing if it is not running."""
    def request_stop(self, index: int) -> None:
        """Request a stop: no more chains are popped; requests being executed finish."""
    def abandon(self, index: int) -> None:
        """Request a stop for a reset: requests that were not begun, and flushes, are dropped.

        A read or write that was begun is waited for; a long one ends at its next piece.
        """
    def oldest(self, index: int) -> tuple[str, int, float, str] | None:
        """Return type, first sector and age in seconds of the request that is executed longest.

        Behind them, the cause of its failure, if it is held.
        """
    @property
    def held(self) -> int:
        """Requests that the storage failed, and that are held to be tried again."""
    def holds(self, index: int) -> bool:
        """Say whether a queue has a request that is held."""
    def resume(self, give_up: bool) -> int:
        """Try held requests again now; returns how many were held.

        With `give_up`, those that fail again are completed.
        """
    def is_stopped(self, index: int) -> bool:
        """Say whether a queue is stopped or was never started."""
    def queue_state(self, index: int) -> RingState | None:
        """Return the state from which a stopped queue continues, as in `DeviceQueue.state`.

        None while it is not stopped, and if it was never started.
        """
    def queue_base(self, index: int) -> int | None:
        """Return the vring base of `queue_state`."""
    def join(self, index: int, seconds: float) -> bool:
        """Wait until a queue whose stop was requested is stopped; True if it is, in that time.

        Errors: ValueError for a time that is none.
        """
    def resize(self, capacity: int) -> None:
        """Change the size of the image and the capacity.

        Errors: NotResizable, BlockReadOnly, BadSize, BlockIOError.
        """
    def flush(self) -> None:
        """Make completed writes durable.

        Errors: BlockIOError; once a flush failed, by request or by call, every later one fails too,
        since the system forgets writes that it lost.
        """
    def stats(self) -> dict[str, tuple[int, int, int, int, int]]:
        """Per type of request: (ok, io_errors, unsupported, bytes, busy_us)."""
    latency_bounds: ClassVar[Sequence[float]]
    """Upper bounds of the buckets of `latencies`, in seconds, ascending."""
    def latencies(self) -> dict[str, list[int]]:
        """Per type of request: how many took so long, from leaving the queue to completion.

        One number for each bound, and one for what took longer than the last.
        """
    @property
    def in_flight(self) -> int:
        """Requests being executed."""
    @property
    def malformed(self) -> int:
        """Chains refused before execution."""
    @property
    def polls(self) -> tuple[int, int]:
        """Polls of rings that found a chain before their threads slept, and those that did not."""
    @property
    def notifications(self) -> int:
        """Notifications received by eventfd from drivers."""
    @property
    def truncated(self) -> int:
        """Requests that failed because the image was truncated by another process."""
    @property
    def flushes(self) -> int:
        """Times the image was flushed, by request, for write-through, by resizes, and by call."""
    @property
    def image_identity(self) -> tuple[int, int]:
        """Device and inode of the image (st_dev, st_ino): another file has others."""
    def failures(self, after: int) -> list[FailedRequest]:
        """Return the last failed requests, oldest first, from number `after + 1` on."""
    def wait_failures(self, after: int, seconds: float) -> list[FailedRequest]:
        """Wait for failures of the storage after a number, at most for a time or until `close`.

        Requests that the disk refused are not among them.
        """
    def failure_counts(self) -> dict[str, dict[str, int]]:
        """Per type of request: how many failed, by cause; a cause that never came is left out."""
    def close(self) -> None:
        """Stop all queues, wait for them, and release the image."""

@final
class Bells:
    """Eventfds, by number, that another process has as well (duplicated). Errors: BadDoorbell."""

    def __new__(cls, descriptors: Mapping[int, int]) -> Self: ...
    def ring(self, number: int) -> None:
        """Signal one, without ever waiting for who shares it. Errors: KeyError."""

def check_filter(text: str, processor: str) -> None:
    """Translate filters for a processor, such as x86_64, and forget them. Errors: ValueError."""

def close_later(descriptor: int) -> None:
    """Close a descriptor of a stranger, which the caller owns, on a thread that nobody waits for.

    A close can wait for as long as whoever handed the descriptor over likes. Errors: OSError for
    what is no open descriptor.
    """

def confine(
    paths: Sequence[tuple[str, str]], *, bind: Sequence[int], connect: Sequence[int] | None
) -> tuple[int, bool]:
    """Confine this thread, and those that it starts later, by Landlock; for good.

    `paths` are pairs of a path and what may be done there: read, write (a file that is there),
    create (files in a folder) or sockets (make them in a folder, and remove names from it). What is
    missing is left out. `bind` and `connect` are TCP ports; None: all.
    Returns the version of Landlock in use, 0 for none, and whether the kernel knows every right
    that is handled. Errors: OSError; ValueError.
    """

def count_threads() -> int:
    """Return the number of threads of this process. Errors: OSError."""

def filter_system_calls(text: str, names: Sequence[str]) -> None:
    """Put seccomp filters in force for all threads, for good.

    `text` has filters by name, in the JSON form of the crate seccompiler; `names` says which, in
    their order. Errors: OSError where the kernel or the processor takes none; ValueError for a text
    that is no filter.
    """

def harden() -> None:
    """Take no new privileges, and be closed to dumps and debuggers; for good. Errors: OSError."""

def is_unix_stream(descriptor: int) -> bool:
    """Say whether a descriptor is a unix stream socket, without waiting for who shares it."""

def unclosed() -> int:
    """Return how many descriptors of `close_later` are not closed yet."""

def judged_rules() -> list[str]:
    """Return the names of the rules for drivers that native code judges (virtmesh.report)."""

def spec_constants() -> dict[str, int]:
    """Return the constants of the specification that the native code uses, by name.

    They are VIRTIO_BLK_F_* (as masks), VIRTIO_BLK_T_*, VIRTIO_BLK_S_*, VIRTQ_DESC_F_*,
    VIRTQ_AVAIL_F_*, VIRTQ_USED_F_*, RING_EVENT_FLAGS_*, INTERRUPT_* (bits of InterruptStatus) and
    single ones of virtio-blk. The table is made from the constants themselves.
    """

@final
class Exit:
    """Why a run of a Board ended."""

    @property
    def kind(self) -> str:
        """One of these.

        | kind | what happened |
        |---|---|
        | budget | the given number of instructions is retired |
        | kick | `kick` was called |
        | breakpoint | `pc` is a breakpoint; its instruction was not executed |
        | watchpoint | an instruction touched one, at `address`, and was executed |
        | lost | the device of `slot` is gone, or the guest touched a slot whose device is |
        | poweroff, reboot | the guest asked for it (0x5555, 0x7777 at 0x100000) |
        | fail | the guest failed with `code` (0x3333 at 0x100000) |
        """
    @property
    def slot(self) -> int | None:
        """The slot that is lost."""
    @property
    def code(self) -> int:
        """Code of "fail", 0 to 65535; 0 otherwise."""
    @property
    def pc(self) -> int:
        """Virtual address of the next instruction."""
    @property
    def address(self) -> int | None:
        """Virtual address that was watched; of "lost", the first address of the slot's window."""
    @property
    def message(self) -> str:
        """Why the slot is lost, in words; empty otherwise."""

@final
class Board:
    """A RISC-V machine without its devices: hart, RAM, CLINT, PLIC, test device, and slots.

    Addresses are those of QEMU's `virt` board: test device 0x100000, CLINT 0x2000000, PLIC
    0xc000000 (context 0: machine mode, context 1: supervisor mode).

    `memory_fd` is a memfd of `size` bytes, sealed against shrinking: RAM at `address`.
    `plic_rule` is "spec" (the PLIC specification: a level is looked at again at completion) or
    "qemu" (QEMU's model: each time a device drives its line high, the source becomes pending; a
    completion does not look at the line). `time` drives `mtime`, of `timebase_hz` ticks per second:
    "real" is the host's clock, "instructions" one tick for `instructions_per_tick` instructions,
    plus the time slept in WFI. A device that owes an answer for `answer_limit_s` (10) is lost.

    A board belongs to one thread at a time; while `run` (or another call) is under way, others
    raise RuntimeError, except `kick`, `stats`, `access_log`, `drain_accesses`, `violations` and
    `marks`.
    Errors of the constructor: those of GuestMemory; ValueError for what is none of the above.
    """

    def __new__(
        cls,
        memory_fd: int,
        address: int,
        size: int,
        *,
        plic_rule: str = "spec",
        timebase_hz: int = 10_000_000,
        time: str = "real",
        instructions_per_tick: int = 10,
        answer_limit_s: float | None = None,
    ) -> Self: ...
    def add_slot(
        self,
        address: int,
        size: int,
        source: int,
        *,
        kind: str = "virtio",
        register_shift: int = 0,
        quirks: str | None = None,
    ) -> int:
        """Add an empty slot with an interrupt source (1 to 127) of its own; return its number.

        `kind` is "virtio", "uart" (NS16550A, its registers 1 << `register_shift` bytes apart) or
        "other"; it says what `saved` keeps. `quirks` are for kernels grown on QEMU, and of virtio
        slots only. "lenient": VendorID is QEMU's, Status keeps its bits, VIRTIO_F_VERSION_1 and
        FEATURES_OK are set for a driver that does not, a wide read of the configuration space is
        two. "legacy": all of it, and version 1 of virtio-mmio (GuestPageSize, QueueAlign,
        QueuePFN). Each use is a violation with the quirk's name as its reason.
        A board has at most 64 slots. Errors: ValueError for a window that overlaps another, and for
        a source that is taken.
        """
    def connect(self, slot: int, channel_fd: int, line_fd: int, kicks: Sequence[int]) -> None:
        """Connect a device, in place of the one before; descriptors are duplicated.

        `channel_fd` is the register channel: a SOCK_SEQPACKET socket, made blocking here. Nobody
        else may use it from now on. `line_fd` is the eventfd by which the device says that its line
        changed. A write of `i` to QueueNotify of a virtio slot signals `kicks[i]`; without one it
        goes to the device. The next `run` asks the device for its line.
        Errors: BadDoorbell for what is no non-blocking eventfd; ValueError for another socket.
        """
    def disconnect(self, slot: int, *, absent: bool) -> None:
        """Take the device away.

        `absent`: reads give 0 (an empty virtio slot still shows MagicValue and Version), writes are
        ignored. Else a run ends with "lost" when the guest touches the slot.
        """
    def reset(self, pc: int, a0: int = 0, a1: int = 0) -> None:
        """Reset hart, PLIC and CLINT, and go on at `pc`. Devices stay as they are."""
    def run(self, budget: int = 0) -> Exit:
        """Run the guest until something ends it, at most `budget` instructions (0: no limit).

        The GIL is released. In WFI it sleeps without CPU. Signal handlers of Python run meanwhile
        if this is the main thread; what they raise ends the run, which may be continued.
        After "lost", the next run makes the access again, if the guest made one.
        """
    def step(self, count: int = 1, *, interrupts: bool = True) -> Exit:
        """Run `count` instructions. A WFI is one of them, and does not sleep if it is the last.

        An instruction that traps is one as well. Without `interrupts` they stay pending meanwhile.
        """
    def kick(self) -> None:
        """End the current run, or the next one if none is under way, with "kick". Any thread may.

        An access that a device has not answered stays under way; the next run takes its answer.
        """
    def access(self, slot: int, offset: int, width: int, value: int | None = None) -> int:
        """Read a register of a device, or write `value`, and wait; return what was read.

        It is kept in `saved` as if the guest had written it. Errors: RegisterError (fact "refused":
        the reason) when the device refuses it; DeviceLost; ValueError for a slot without a device.
        """
    def saved(self, slot: int) -> list[tuple[int, int, int]]:
        """Return (offset, width, value) of the writes that restore the device, in order.

        Virtio: Status up to DRIVER, features, FEATURES_OK, queues, DRIVER_OK, configuration space,
        selectors. NS16550A: divisor, LCR, FCR without its resets, MCR, SCR, IER. A write of Status
        0 clears what is saved. What acts once (QueueNotify, InterruptACK, characters) is never
        there.
        """
    def access_log(self, on: bool) -> None:
        """Log accesses to slots from now on, or stop it."""
    def drain_accesses(self) -> list[tuple[int, int, int, int, int, int]]:
        """Take the logged accesses: (slot, pc, offset, op, value, time).

        `op` is the width in bytes, with 0x80 added for a write. `time` is CLOCK_MONOTONIC before
        the access, in ns. The last 65536 are kept.
        """
    def violations(
        self,
    ) -> list[tuple[int | None, str, str, int, int, int, int, int, int, int | None]]:
        """Return what the guest did wrong since the reset, by the time of the first.

        Of each slot and reason: slot, reason, message, count, and of the first time pc, offset, op,
        value, time (as `drain_accesses`) and its number in the slot's recorder. They are accesses
        that devices refused, and those that a quirk took care of. The reason "hole" is about
        accesses that nothing answers: the slot is None, and the offset a physical address.
        """
    def marks(self, slot: int) -> list[tuple[int, list[tuple[int, int, int, int]]]]:
        """Return each request in whose answer the device said that a rule was broken.

        Its tag, and its accesses in order: pc, offset, op, value (as `drain_accesses`). Those of
        the connection that the slot has; `stats` counts them as "marks".
        """
    def record_to(self, slot: int, recorder: Recorder) -> None:
        """Record each access of a slot from now on, as CPU_ACCESS with its program counter."""
    def stats(self) -> dict[str, int]:
        """Counters since the board was made.

        | counter | what it counts |
        |---|---|
        | instructions | retired instructions |
        | mmio_accesses, mmio_ns | accesses to slots, and the time they took |
        | mmio_refused | those that devices refused |
        | notifications | writes to QueueNotify that signalled an eventfd |
        | line_requests | requests that only asked a device for its line |
        | run_ns, wfi_ns | time in `run`, and that of it asleep in WFI |
        | interrupts, spurious | claims of an interrupt, and those whose line had fallen before |
        | holes, hole_address, hole_pc | accesses where nothing is, and the last of them |
        | accesses_dropped | logged accesses that were not drained in time |
        | marks | entries of `marks`, of all slots |
        """
    def registers(self) -> dict[str, int]:
        """Return the registers by name: pc, privilege (0, 1, 3), x0 to x31, f0 to f31, and CSRs."""
    def set_register(self, name: str, value: int) -> None:
        """Write a register. Errors: ValueError for one that is none, or read-only."""
    @property
    def mtime(self) -> int:
        """The timer, in ticks."""
    def read_physical(self, address: int, length: int) -> bytes:
        """Copy RAM out. Errors: MemoryRefused outside RAM."""
    def write_physical(self, address: int, data: bytes) -> None:
        """Copy bytes into RAM. Errors: MemoryRefused outside RAM."""
    def read_virtual(self, address: int, length: int) -> bytes:
        """Copy RAM out, by the page table of the hart's mode, whatever the rights.

        At most 16 MiB. Errors: MemoryRefused for what is not mapped to RAM.
        """
    def write_virtual(self, address: int, data: bytes) -> None:
        """Copy bytes into RAM; as `read_virtual`. Nothing is written if any byte is not mapped."""
    def translate(self, address: int) -> int | None:
        """Return the physical address of a virtual one; None if it is not mapped."""
    def set_breakpoints(self, addresses: Sequence[int]) -> None:
        """Stop before these virtual addresses. Replaces the earlier list."""
    def set_watchpoints(self, ranges: Sequence[tuple[int, int, str]]) -> None:
        """Stop behind accesses to (virtual address, length, "r", "w" or "rw")."""

Place: TypeAlias = tuple[int, int, int, int]
"""A rectangle of pixels: x, y, width, height."""

@final
class CopyCancel:
    """Ends the copies that were given it, from any thread: each looks at it after each row."""

    def __new__(cls) -> Self: ...
    def set(self) -> None:
        """End them."""

@final
class Backing:
    """Pieces of guest memory behind a resource, read as one (virtio 1.4, 5.7.6.8).

    `entries` are packed struct virtio_gpu_mem_entry. Errors: MemoryRefused for a piece that is not
    inside of guest memory.
    """

    def __new__(cls, memory: GuestMemory, entries: bytes) -> Self: ...
    @property
    def size(self) -> int:
        """Bytes of all pieces."""

@final
class Surface:
    """The pixels of a 2D resource, in a format of the specification. They are 0 at first.

    Copies release the GIL. They return False if they were ended. Errors: ValueError for what is not
    inside; nothing was copied then.
    """

    def __new__(cls, width: int, height: int, format: int) -> Self: ...  # noqa: A002
    def transfer(self, backing: Backing, place: Place, offset: int, cancel: CopyCancel) -> bool:
        """Copy a rectangle from guest memory. Its first pixel is at `offset` in the backing."""
    def to_bgra(self) -> bytes:
        """Copy everything out: blue, green, red, alpha; 255 in formats without alpha."""

@final
class Picture:
    """What a scanout shows: pixels of its own, black at first.

    Copies release the GIL. One waits while another thread reads or writes the picture; without
    `wait` it returns None then. Errors: ValueError for what is not inside; nothing was copied then.
    """

    def __new__(cls, width: int, height: int) -> Self: ...
    @property
    def width(self) -> int:
        """Columns."""
    @property
    def height(self) -> int:
        """Rows."""
    def show(
        self,
        surface: Surface,
        source: tuple[int, int],
        place: Place,
        cancel: CopyCancel,
        *,
        wait: bool,
    ) -> bool | None:
        """Show a rectangle of a resource, which begins at `source`, at a place of the picture."""
    def show_memory(
        self,
        backing: Backing,
        image: tuple[int, int, int, int, int],
        source: tuple[int, int],
        place: Place,
        cancel: CopyCancel,
        *,
        wait: bool,
    ) -> bool | None:
        """Show a rectangle of an image in guest memory.

        `image` is its format, width, height, offset in the backing and bytes of a row.
        """
    def read(self, place: Place) -> bytes:
        """Copy a rectangle out: blue, green, red and 255, without gaps between rows.

        All of it is of one moment. It waits while a flush is copied.
        """

def try_image(path: str, read_only: bool, block_size: int, *, bypass_cache: bool = False) -> None:
    """Open and lock an image, and let it go again. Errors: those of BlkDevice for images."""
