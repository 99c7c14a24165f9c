"""What the text fixes for input devices: queues, configuration layout, events (virtio 1.4, 5.8)."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

from virtmesh_common.registers import Access, Field, Register, named_values
from virtmesh_common.virtio.ids import VirtioId
from virtmesh_common.virtio.mmio import MMIO_CONFIG

VIRTIO_ID_INPUT = int(VirtioId.INPUT)
"""Device ID (5.8.1)."""
EVENTQ = 0
"""Index of the queue that takes events to the driver (5.8.2)."""
STATUSQ = 1
"""Index of the queue that takes the driver's feedback to the device (5.8.2)."""


class InputFeature(IntFlag):
    """Feature bits of input devices: there are none (5.8.3)."""


class ConfigSelect(IntEnum):
    """Values of `select`: what `u` holds (5.8.4)."""

    VIRTIO_INPUT_CFG_UNSET = 0x00
    VIRTIO_INPUT_CFG_ID_NAME = 0x01
    VIRTIO_INPUT_CFG_ID_SERIAL = 0x02
    VIRTIO_INPUT_CFG_ID_DEVIDS = 0x03
    VIRTIO_INPUT_CFG_PROP_BITS = 0x10
    VIRTIO_INPUT_CFG_EV_BITS = 0x11
    VIRTIO_INPUT_CFG_ABS_INFO = 0x12


U_SIZE = 128
"""Bytes of `u`: the longest name, and the bitmap of the largest code, KEY_MAX (5.8.4)."""

SELECT = Register(
    "select",
    MMIO_CONFIG,
    Access.RW,
    "5.8.4",
    "What to ask for",
    size=1,
    widths=(1,),
    fields=(Field("select", 0, 8, values=named_values(ConfigSelect)),),
)
SUBSEL = Register(
    "subsel", MMIO_CONFIG + 1, Access.RW, "5.8.4", "Event type or axis", size=1, widths=(1,)
)
SIZE = Register(
    "size", MMIO_CONFIG + 2, Access.R, "5.8.4", "Bytes of u; 0: no such thing", size=1, widths=(1,)
)
RESERVED = Register("reserved", MMIO_CONFIG + 3, Access.R, "5.8.4", "Padding", size=5, widths=(1,))
U = Register(
    "u",
    MMIO_CONFIG + 8,
    Access.R,
    "5.8.4",
    "A string, a bitmap, struct virtio_input_absinfo or struct virtio_input_devids",
    size=U_SIZE,
    widths=(1, 2, 4),
)

CONFIG: tuple[Register, ...] = (SELECT, SUBSEL, SIZE, RESERVED, U)
"""struct virtio_input_config."""

ABSINFO = struct.Struct("<5i")
"""struct virtio_input_absinfo: min, max, fuzz, flat, res. evdev has them signed (5.8.4)."""
DEVIDS = struct.Struct("<4H")
"""struct virtio_input_devids: bustype, vendor, product, version (5.8.4)."""
EVENT = struct.Struct("<HHi")
"""struct virtio_input_event: type, code, value. evdev has the value signed (5.8.6)."""
