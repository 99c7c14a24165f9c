"""The register window of virtio over MMIO, version 2 (virtio 1.4, 4.2.2).

https://docs.oasis-open.org/virtio/virtio/v1.4/virtio-v1.4.html

Control registers take 32-bit aligned accesses only; the configuration space takes the widths of
its fields (4.2.2.2).
"""

from __future__ import annotations

from functools import partial

from virtmesh_common.registers import Access, Field, Register, fill_reserved, flag_fields
from virtmesh_common.virtio.ids import VirtioId, device_name
from virtmesh_common.virtio.status import STATUS_DOCS, Status

MMIO_MAGIC = 0x74726976
"""MagicValue: "virt", little-endian."""
MMIO_VERSION = 2
"""Version of devices that are not legacy devices."""
MMIO_CONFIG = 0x100
"""Offset of the device-specific configuration space."""
MMIO_SIZE = 0x1000
"""Size of the window, in bytes: a page, as QEMU's RISC-V `virt` board spaces its slots."""
COMPATIBLE = "virtio,mmio"
"""Compatible string of the device tree node (4.2.1)."""

INTERRUPT_USED_BUFFER = 1 << 0
"""InterruptStatus: the device has used a buffer."""
INTERRUPT_CONFIG_CHANGE = 1 << 1
"""InterruptStatus: the configuration has changed, or the device needs a reset."""
INTERRUPT_BITS = INTERRUPT_USED_BUFFER | INTERRUPT_CONFIG_CHANGE

SHM_NONE = (1 << 64) - 1
"""Length and base of a shared memory region that is not there."""

BITS = 32
"""Bits of a control register."""
DEVICE_ID_FIELDS = (
    Field("DeviceID", 0, BITS, values=tuple((one.value, device_name(one)) for one in VirtioId)),
)
QUEUE_READY_FIELDS = fill_reserved((Field("QueueReady", 0),), BITS)
QUEUE_RESET_FIELDS = fill_reserved((Field("QueueReset", 0),), BITS)
INTERRUPT_FIELDS = fill_reserved(
    (
        Field("USED_BUFFER", 0, doc="The device has used a buffer"),
        Field("CONFIG_CHANGE", 1, doc="The configuration changed, or the device needs a reset"),
    ),
    BITS,
)
STATUS_FIELDS = flag_fields(Status, BITS, STATUS_DOCS)

_R = partial(Register, access=Access.R, clause="4.2.2")
_W = partial(Register, access=Access.W, clause="4.2.2")
_RW = partial(Register, access=Access.RW, clause="4.2.2")
_LEGACY = partial(
    Register,
    access=Access.RESERVED,
    clause="4.2.4",
    doc="only legacy devices have it; this one has version 2",
)

MAGIC_VALUE = _R("MagicValue", 0x000, reset=MMIO_MAGIC, doc="0x74726976")
VERSION = _R("Version", 0x004, reset=MMIO_VERSION, doc="2")
DEVICE_ID = _R(
    "DeviceID", 0x008, doc="Virtio device ID (5); 0 for a placeholder", fields=DEVICE_ID_FIELDS
)
VENDOR_ID = _R("VendorID", 0x00C, doc="Virtio vendor ID")
DEVICE_FEATURES = _R("DeviceFeatures", 0x010, doc="32 offered features, from bit 32 * Sel")
DEVICE_FEATURES_SEL = _W("DeviceFeaturesSel", 0x014, doc="Selects DeviceFeatures")
DRIVER_FEATURES = _W("DriverFeatures", 0x020, doc="32 accepted features, from bit 32 * Sel")
DRIVER_FEATURES_SEL = _W("DriverFeaturesSel", 0x024, doc="Selects DriverFeatures")
QUEUE_SEL = _W("QueueSel", 0x030, doc="Selects the queue of the Queue registers")
QUEUE_SIZE_MAX = _R("QueueSizeMax", 0x034, doc="Largest queue size; 0: no such queue")
QUEUE_SIZE = _W("QueueSize", 0x038, doc="Queue size, in entries")
QUEUE_READY = _RW("QueueReady", 0x044, doc="1: the queue may be used", fields=QUEUE_READY_FIELDS)
QUEUE_NOTIFY = _W("QueueNotify", 0x050, doc="Index of a queue with available buffers")
INTERRUPT_STATUS = _R("InterruptStatus", 0x060, doc="Pending events", fields=INTERRUPT_FIELDS)
INTERRUPT_ACK = _W("InterruptACK", 0x064, doc="Events that are handled", fields=INTERRUPT_FIELDS)
STATUS = _RW("Status", 0x070, doc="Device status (2.1); writing 0 resets", fields=STATUS_FIELDS)
QUEUE_DESC_LOW = _W("QueueDescLow", 0x080, doc="Descriptor area, bits 0 to 31")
QUEUE_DESC_HIGH = _W("QueueDescHigh", 0x084, doc="Descriptor area, bits 32 to 63")
QUEUE_DRIVER_LOW = _W("QueueDriverLow", 0x090, doc="Driver area, bits 0 to 31")
QUEUE_DRIVER_HIGH = _W("QueueDriverHigh", 0x094, doc="Driver area, bits 32 to 63")
QUEUE_DEVICE_LOW = _W("QueueDeviceLow", 0x0A0, doc="Device area, bits 0 to 31")
QUEUE_DEVICE_HIGH = _W("QueueDeviceHigh", 0x0A4, doc="Device area, bits 32 to 63")
SHM_SEL = _W("SHMSel", 0x0AC, doc="Selects the shared memory region of the SHM registers")
SHM_LEN_LOW = _R("SHMLenLow", 0x0B0, doc="Length of the region, bits 0 to 31")
SHM_LEN_HIGH = _R("SHMLenHigh", 0x0B4, doc="Length of the region, bits 32 to 63")
SHM_BASE_LOW = _R("SHMBaseLow", 0x0B8, doc="Base of the region, bits 0 to 31")
SHM_BASE_HIGH = _R("SHMBaseHigh", 0x0BC, doc="Base of the region, bits 32 to 63")
QUEUE_RESET = _RW(
    "QueueReset",
    0x0C0,
    doc="1 resets the queue; reads 1 while that lasts",
    fields=QUEUE_RESET_FIELDS,
)
CONFIG_GENERATION = _R("ConfigGeneration", 0x0FC, doc="Moves when the configuration changes")

GUEST_PAGE_SIZE = _LEGACY("GuestPageSize", 0x028)
QUEUE_ALIGN = _LEGACY("QueueAlign", 0x03C)
QUEUE_PFN = _LEGACY("QueuePFN", 0x040)

REGISTERS: tuple[Register, ...] = (
    MAGIC_VALUE,
    VERSION,
    DEVICE_ID,
    VENDOR_ID,
    DEVICE_FEATURES,
    DEVICE_FEATURES_SEL,
    DRIVER_FEATURES,
    DRIVER_FEATURES_SEL,
    GUEST_PAGE_SIZE,
    QUEUE_SEL,
    QUEUE_SIZE_MAX,
    QUEUE_SIZE,
    QUEUE_ALIGN,
    QUEUE_PFN,
    QUEUE_READY,
    QUEUE_NOTIFY,
    INTERRUPT_STATUS,
    INTERRUPT_ACK,
    STATUS,
    QUEUE_DESC_LOW,
    QUEUE_DESC_HIGH,
    QUEUE_DRIVER_LOW,
    QUEUE_DRIVER_HIGH,
    QUEUE_DEVICE_LOW,
    QUEUE_DEVICE_HIGH,
    SHM_SEL,
    SHM_LEN_LOW,
    SHM_LEN_HIGH,
    SHM_BASE_LOW,
    SHM_BASE_HIGH,
    QUEUE_RESET,
    CONFIG_GENERATION,
)
"""Every control register, ascending by offset."""
