"""What the client returns: plain values, in bytes and seconds, ready for `dataclasses.asdict`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceInfo:
    """One device of a machine, as the kernel sees it."""

    name: str
    state: str
    """"waiting", "probing", "ready", "failed", or "reserved": left to guests."""
    detail: str
    """Why the device is not ready; empty when it is, and when a guest drives it."""
    compatible: str
    mmio_address: int
    irq: int
    virtio_device_id: int
    driver: str
    features: tuple[str, ...]
    doorbell: str
    interrupts: int
    requests: int
    endpoint: str
    vhost_user_socket: str = ""
    """Path of the socket that takes front ends of guests; empty unless the device is reserved."""


@dataclass(frozen=True)
class ImageInfo:
    """The image behind a disk, as its device service sees it."""

    path: str
    allocated_bytes: int
    config_generation: int


@dataclass(frozen=True)
class DiskInfo:
    """A disk, as its driver sees it, and its image."""

    name: str
    capacity_bytes: int
    block_size_bytes: int
    read_only: bool
    serial: str
    write_back: bool
    """True when completed writes are volatile until a flush."""
    queues: int
    request_size_max_bytes: int
    features: tuple[str, ...]
    image: ImageInfo


@dataclass(frozen=True)
class RequestStats:
    """Counters of one type of request, such as "OUT"."""

    type: str
    ok: int
    io_errors: int
    unsupported: int
    bytes: int
    busy_us: int


@dataclass(frozen=True)
class DeviceCounters:
    """Counters that every device has, since its service started."""

    mmio_reads: int
    mmio_writes: int
    mmio_messages: int
    mmio_errors: int
    notifications_eventfd: int
    notifications_mmio: int
    notifications_rpc: int
    interrupts: int
    interrupts_suppressed: int
    requests: int
    resets: int
    attaches: int


@dataclass(frozen=True)
class DiskStats:
    """Counters of a disk since its service started."""

    requests: tuple[RequestStats, ...]
    in_flight: int
    malformed: int
    device: DeviceCounters


@dataclass(frozen=True)
class DeviceStatus:
    """Who drives a device, and in which state it is."""

    attached: bool
    driver_name: str
    device_status: int
    device_status_names: tuple[str, ...]
    fault: str


@dataclass(frozen=True)
class CopyResult:
    """A copy that succeeded."""

    bytes: int
    seconds: float
    sha256: str
    """Of the bytes copied, in hexadecimal."""
    verified: bool = False
    """True when an import was read back and compared."""

    @property
    def bytes_per_second(self) -> float:
        """Mean rate of the copy."""
        return self.bytes / self.seconds if self.seconds else 0.0
