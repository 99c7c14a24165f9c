"""What the text fixes for GPU devices: queues, commands, structures, formats (virtio 1.4, 5.7)."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct

from virtmesh_common.registers import Access, Register, flag_fields, named_values
from virtmesh_common.virtio.ids import VirtioId
from virtmesh_common.virtio.mmio import MMIO_CONFIG

VIRTIO_ID_GPU = int(VirtioId.GPU)
"""Device ID (5.7.1)."""
CONTROLQ = 0
"""Index of the queue for control commands (5.7.2)."""
CURSORQ = 1
"""Index of the queue for cursor commands (5.7.2)."""
VIRTIO_GPU_MAX_SCANOUTS = 16
"""Scanouts in a response to VIRTIO_GPU_CMD_GET_DISPLAY_INFO (5.7.6.8)."""
CURSOR_SIDE = 64
"""Width and height of a cursor, in pixels (5.7.6.6)."""
PIXEL = 4
"""Bytes of a pixel, in every format."""
EDID_BYTES = 1024
"""Room for the EDID in a response (5.7.6.8)."""
MIN_SIDE, MAX_SIDE = 16, 4095
"""Width and height that a mode can have here: what the first detailed timing of an EDID can say."""


class GpuFeature(IntFlag):
    """Feature bits of GPU devices (5.7.3)."""

    VIRTIO_GPU_F_VIRGL = 1 << 0
    VIRTIO_GPU_F_EDID = 1 << 1
    VIRTIO_GPU_F_RESOURCE_UUID = 1 << 2
    VIRTIO_GPU_F_RESOURCE_BLOB = 1 << 3
    VIRTIO_GPU_F_CONTEXT_INIT = 1 << 4


class GpuEvent(IntFlag):
    """Bits of `events_read` (5.7.4)."""

    VIRTIO_GPU_EVENT_DISPLAY = 1 << 0


class Command(IntEnum):
    """Types of requests (5.7.6.7)."""

    VIRTIO_GPU_CMD_GET_DISPLAY_INFO = 0x0100
    VIRTIO_GPU_CMD_RESOURCE_CREATE_2D = 0x0101
    VIRTIO_GPU_CMD_RESOURCE_UNREF = 0x0102
    VIRTIO_GPU_CMD_SET_SCANOUT = 0x0103
    VIRTIO_GPU_CMD_RESOURCE_FLUSH = 0x0104
    VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D = 0x0105
    VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING = 0x0106
    VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING = 0x0107
    VIRTIO_GPU_CMD_GET_CAPSET_INFO = 0x0108
    VIRTIO_GPU_CMD_GET_CAPSET = 0x0109
    VIRTIO_GPU_CMD_GET_EDID = 0x010A
    VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID = 0x010B
    VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB = 0x010C
    VIRTIO_GPU_CMD_SET_SCANOUT_BLOB = 0x010D
    VIRTIO_GPU_CMD_UPDATE_CURSOR = 0x0300
    VIRTIO_GPU_CMD_MOVE_CURSOR = 0x0301


class Response(IntEnum):
    """Types of responses (5.7.6.7)."""

    VIRTIO_GPU_RESP_OK_NODATA = 0x1100
    VIRTIO_GPU_RESP_OK_DISPLAY_INFO = 0x1101
    VIRTIO_GPU_RESP_OK_CAPSET_INFO = 0x1102
    VIRTIO_GPU_RESP_OK_CAPSET = 0x1103
    VIRTIO_GPU_RESP_OK_EDID = 0x1104
    VIRTIO_GPU_RESP_OK_RESOURCE_UUID = 0x1105
    VIRTIO_GPU_RESP_OK_MAP_INFO = 0x1106
    VIRTIO_GPU_RESP_ERR_UNSPEC = 0x1200
    VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY = 0x1201
    VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID = 0x1202
    VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID = 0x1203
    VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID = 0x1204
    VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER = 0x1205


class Format(IntEnum):
    """Formats of pixels: the bytes in the order of memory (5.7.6.8)."""

    VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM = 1
    VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM = 2
    VIRTIO_GPU_FORMAT_A8R8G8B8_UNORM = 3
    VIRTIO_GPU_FORMAT_X8R8G8B8_UNORM = 4
    VIRTIO_GPU_FORMAT_R8G8B8A8_UNORM = 67
    VIRTIO_GPU_FORMAT_X8B8G8R8_UNORM = 68
    VIRTIO_GPU_FORMAT_A8B8G8R8_UNORM = 121
    VIRTIO_GPU_FORMAT_R8G8B8X8_UNORM = 134


VIRTIO_GPU_FLAG_FENCE = 1 << 0
"""In a request: answer when it is complete. In a response: `fence_id` is that of the request."""
VIRTIO_GPU_BLOB_MEM_GUEST = 1
"""Value of `blob_mem`: the blob is guest memory."""

CTRL_HDR = Struct("<IIQIB3x")
"""struct virtio_gpu_ctrl_hdr: type, flags, fence_id, ctx_id, ring_idx."""
RECT = Struct("<4I")
"""struct virtio_gpu_rect: x, y, width, height."""
DISPLAY_ONE = Struct("<4I2I")
"""struct virtio_gpu_display_one: a rectangle, enabled, flags."""
# The rest of each request, behind its header.
GET_EDID = Struct("<I4x")
"""scanout."""
RESP_EDID = Struct(f"<I4x{EDID_BYTES}s")
"""size, edid."""
RESOURCE_CREATE_2D = Struct("<4I")
"""resource_id, format, width, height."""
RESOURCE_ID = Struct("<I4x")
"""resource_id: of RESOURCE_UNREF and RESOURCE_DETACH_BACKING."""
SET_SCANOUT = Struct("<4I2I")
"""A rectangle, scanout_id, resource_id."""
RESOURCE_FLUSH = Struct("<4II4x")
"""A rectangle, resource_id."""
TRANSFER_TO_HOST_2D = Struct("<4IQI4x")
"""A rectangle, offset, resource_id."""
RESOURCE_ATTACH_BACKING = Struct("<2I")
"""resource_id, nr_entries; the entries follow."""
MEM_ENTRY = Struct("<QI4x")
"""struct virtio_gpu_mem_entry: addr, length."""
RESOURCE_CREATE_BLOB = Struct("<4I2Q")
"""resource_id, blob_mem, blob_flags, nr_entries, blob_id, size; the entries follow."""
SET_SCANOUT_BLOB = Struct("<4I5I4x4I4I")
"""A rectangle, scanout_id, resource_id, width, height, format, strides, offsets."""
UPDATE_CURSOR = Struct("<I2i4x3I4x")
"""struct virtio_gpu_cursor_pos (scanout_id, x, y), resource_id, hot_x, hot_y.

The text has x and y without a sign; drivers put a cursor left of the screen by negative numbers.
"""

EVENTS_READ = Register(
    "events_read",
    MMIO_CONFIG,
    Access.R,
    "5.7.4",
    "Events that the driver has not cleared",
    fields=flag_fields(GpuEvent, 32),
    transient=True,
)
EVENTS_CLEAR = Register(
    "events_clear",
    MMIO_CONFIG + 4,
    Access.RW,
    "5.7.4",
    "Clears the events whose bits are written as 1",
    fields=flag_fields(GpuEvent, 32),
)
NUM_SCANOUTS = Register("num_scanouts", MMIO_CONFIG + 8, Access.R, "5.7.4", "Scanouts, 1 to 16")
NUM_CAPSETS = Register(
    "num_capsets", MMIO_CONFIG + 12, Access.R, "5.7.4", "Capability sets, for 3D"
)
CONFIG: tuple[Register, ...] = (EVENTS_READ, EVENTS_CLEAR, NUM_SCANOUTS, NUM_CAPSETS)
"""struct virtio_gpu_config."""

COMMAND_NAMES = dict(named_values(Command, "VIRTIO_GPU_CMD_"))
RESPONSE_NAMES = dict(named_values(Response, "VIRTIO_GPU_RESP_"))
FORMAT_NAMES = dict(named_values(Format, "VIRTIO_GPU_FORMAT_"))
"""Names for people, by number."""
COMMAND_GROUPS = {0x0100: 0, 0x0200: 32, 0x0300: 64}
"""In traces the type of a request has 7 bits: where the numbers of each group of commands begin."""


def trace_number(command: int) -> int:
    """Return the number of a command in traces; 127 for one that no group has."""
    group = COMMAND_GROUPS.get(command & ~0x1F)
    return 127 if group is None else group + (command & 0x1F)
