"""Values that the client returns. Sizes are in bytes; `dataclasses.asdict` converts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_common.virtio.ids import VirtioId

SERIAL_TIMEOUT_SECONDS = 30.0
"""Default limit for calls of a serial port that wait."""


@dataclass(frozen=True)
class DeviceDescription:
    """What a device service says of its device: enough, with `Interface`, to write a driver.

    Example:
        with virtmesh_client.connect() as machine:
            port = machine.description("serial")
        assert port.compatible == "ns16550a"
        assert port.properties["reg-shift"] == 0
    """

    name: str
    kind: str
    compatible: str
    virtio_device_id: int
    """0 for a device that is no virtio device."""
    mmio_size_bytes: int
    queue_size_max: tuple[int, ...]
    """Largest size of each virtqueue, in entries."""
    properties: dict[str, int]
    """What else a driver has to know, by the names of device tree properties."""
    features: tuple[tuple[int, str], ...]
    """Feature bits that it offers: number and name, ascending."""
    handover_socket: str
    version: str


@dataclass(frozen=True)
class DeviceInfo:
    """A device of a machine, as the kernel sees it.

    Example:
        with virtmesh_client.connect() as machine:
            device = machine.devices()[0]
        assert device.state in ("probing", "ready")
    """

    name: str
    state: str
    """"waiting", "probing", "ready", "failed", "detached" (see `Machine.detach`), "reserved" (for
    guests), or "silent": in use, but its service does not answer."""
    detail: str
    """Why the device is not ready. Empty if it is ready or a guest drives it."""
    compatible: str
    """Compatible string of its device tree node."""
    mmio_address: int
    """Physical address of its registers."""
    irq: int
    """Number of its interrupt line."""
    virtio_device_id: int
    """Virtio device ID (virtio 1.4, 5); 0 for other devices."""
    driver: str
    """Name of its driver; empty without one."""
    features: tuple[str, ...]
    """Names of the negotiated virtio features."""
    doorbell: str
    """How the driver notifies the device: "eventfd", "mmio" or "rpc"."""
    interrupts: int
    """Number of interrupts that the driver has received."""
    requests: int
    """Number of requests that the driver has completed."""
    endpoint: str
    """Address of the device service."""
    vhost_user_socket: str = ""
    """Path of the vhost-user socket for guests. Empty unless the device is reserved."""


@dataclass(frozen=True)
class NodeInfo:
    """A node of the device tree of a machine, and what became of it.

    Example:
        with virtmesh_client.connect() as machine:
            fates = {node.path: node.fate for node in machine.nodes()}
        assert fates["/chosen"] == "read"
    """

    path: str
    """Full path; of a very long one the end."""
    compatible: str
    """First of its compatible strings; empty without one."""
    fate: str
    """"driven", "reserved" (for guests), "disabled", "unbound" (no service is bound to it), "read"
    (it describes the machine), or "not understood"."""
    detail: str
    """Why, or what it was read for; empty for a device."""
    device: str
    """Name of the device that it is; empty for what is none."""
    mmio_address: int | None
    """Physical address of its registers, if it has any that are known."""


@dataclass(frozen=True)
class ImageInfo:
    """The image file of a disk, as the device service sees it.

    Example:
        with virtmesh_client.connect() as machine:
            image = machine.disk("vda").info().image
        print(image.path, image.allocated_bytes)
    """

    path: str
    allocated_bytes: int
    """Space that the file takes; less than the capacity if it has holes."""
    config_generation: int
    """ConfigGeneration register: it changes with each change of the configuration space."""
    on_error: str = "report"
    """What is done with a request that the storage fails: "report", or "stop", which holds it."""
    held_requests: int = 0
    """Requests that are held, and tried again."""
    trouble: str = ""
    """What has become of it, such as that it was deleted or replaced; empty while all is well."""
    write_log: str = ""
    """The file that records what changes the disk; empty if nothing does."""


@dataclass(frozen=True)
class DiskInfo:
    """A disk as its driver sees it, and its image.

    Example:
        with virtmesh_client.connect() as machine:
            info = machine.disk("vda").info()
        assert info.capacity_bytes % info.block_size_bytes == 0
    """

    name: str
    capacity_bytes: int
    block_size_bytes: int
    read_only: bool
    serial: str
    write_back: bool
    """True if completed writes are volatile until a flush."""
    queues: int
    """Number of virtqueues."""
    request_size_max_bytes: int
    """Largest amount of data in one virtio request."""
    features: tuple[str, ...]
    """Names of the negotiated virtio features."""
    image: ImageInfo
    poll_us: int = 0
    """How long the thread of a queue polls before it sleeps, at most, in microseconds; 0: never."""
    bypasses_cache: bool = False
    """True if reads and writes do not go through the page cache of the disk's host."""
    engine: str = ""
    """What executes requests: threads, io_uring, or null, which moves no bytes."""
    engine_reason: str = ""
    """Why it is not io_uring, where that would be quicker; empty otherwise."""


@dataclass(frozen=True)
class RequestStats:
    """Counters of one type of request.

    Example:
        with virtmesh_client.connect() as machine:
            requests = machine.disk("vda").stats().requests
        print({request.type: request.ok for request in requests})
    """

    type: str
    """Name of the type without its prefix, such as "OUT"."""
    ok: int
    """Requests with the status VIRTIO_BLK_S_OK."""
    io_errors: int
    """Requests with the status VIRTIO_BLK_S_IOERR."""
    unsupported: int
    """Requests with the status VIRTIO_BLK_S_UNSUPP."""
    bytes: int
    """Data that was transferred."""
    busy_us: int
    """Total time of all requests, in microseconds."""


@dataclass(frozen=True)
class DeviceCounters:
    """Counters that every device has, since its service started.

    Example:
        with virtmesh_client.connect() as machine:
            counters = machine.disk("vda").stats().device
        assert counters.attaches >= 0
    """

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
    """Counters of a disk since its service started.

    Example:
        with virtmesh_client.connect() as machine:
            stats = machine.disk("vda").stats()
        assert (stats.in_flight, stats.malformed) == (0, 0)
    """

    requests: tuple[RequestStats, ...]
    """Counters of each type of request."""
    in_flight: int
    """Requests that the device has taken and not completed."""
    malformed: int
    """Descriptor chains that were no valid request."""
    device: DeviceCounters


@dataclass(frozen=True)
class DeviceStatus:
    """The driver of a device, and the status that the driver has set.

    Example:
        with virtmesh_client.connect() as machine:
            status = machine.disk("vda").status()
        assert "DRIVER_OK" in status.device_status_names
    """

    attached: bool
    """True while a driver is attached."""
    driver_name: str
    """Name of the attached driver; empty without one."""
    device_status: int
    """The Status register (virtio 1.4, 2.1)."""
    device_status_names: tuple[str, ...]
    """Names of the bits that are set in the Status register."""
    fault: str
    """Why the device needs a reset; empty if it does not."""


@dataclass(frozen=True)
class CopyResult:
    """Result of a copy to or from a disk.

    Example:
        with virtmesh_client.connect() as machine:
            copy = machine.disk("vda").write(0, bytes(512))
        assert copy.bytes == 512
    """

    bytes: int
    """Number of bytes copied."""
    seconds: float
    """How long the copy took."""
    sha256: str
    """SHA-256 of the bytes copied, in hexadecimal."""
    verified: bool = False
    """True if an import was read back and compared."""

    @property
    def bytes_per_second(self) -> float:
        """Mean rate of the copy."""
        return self.bytes / self.seconds if self.seconds else 0.0


def names_of(devices: Iterable[DeviceInfo], kind: VirtioId) -> list[str]:
    """Return the names of the devices of a kind, in order."""
    return [one.name for one in devices if one.virtio_device_id == kind]
