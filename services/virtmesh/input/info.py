"""Reads the whole configuration of an input device (virtio 1.4, 5.8.4).

Each piece has a selector. All sizes are read first, then the pieces whose size is not 0. So a few
round trips are enough, whatever the device has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from virtmesh.attach.bus import writing
from virtmesh_common.errors import DriverError
from virtmesh_common.evdev import TYPES
from virtmesh_common.input.spec import ABSINFO, DEVIDS, SELECT, SIZE, SUBSEL, ConfigSelect, U

if TYPE_CHECKING:
    import struct
    from collections.abc import Iterable, Mapping, Sequence

    from virtmesh.attach.bus import Access
    from virtmesh.virtio.mmio_driver import VirtIOHeader
    from virtmesh_common.registers import Register

    Selector = tuple[ConfigSelect, int]
    """A value of `select`, and one of `subsel`."""

EV_ABS = TYPES["EV_ABS"]

_ALONE: tuple[Selector, ...] = (
    (ConfigSelect.VIRTIO_INPUT_CFG_ID_NAME, 0),
    (ConfigSelect.VIRTIO_INPUT_CFG_ID_SERIAL, 0),
    (ConfigSelect.VIRTIO_INPUT_CFG_ID_DEVIDS, 0),
    (ConfigSelect.VIRTIO_INPUT_CFG_PROP_BITS, 0),
)


@dataclass(frozen=True)
class DeviceIds:
    """struct virtio_input_devids: as EVIOCGID reports it."""

    bustype: int = 0
    vendor: int = 0
    product: int = 0
    version: int = 0


@dataclass(frozen=True)
class AbsInfo:
    """struct virtio_input_absinfo: the range of an axis, and its resolution in units per mm."""

    minimum: int
    maximum: int
    fuzz: int
    flat: int
    resolution: int


@dataclass(frozen=True)
class InputInfo:
    """The whole configuration of an input device."""

    name: str
    serial: str
    ids: DeviceIds
    properties: frozenset[int]
    """INPUT_PROP_* bits that are set."""
    codes: Mapping[int, frozenset[int]]
    """Codes of each EV_* type that the device supports."""
    axes: Mapping[int, AbsInfo]
    """By ABS_* code."""


async def read_info(header: VirtIOHeader) -> InputInfo:
    """Read the configuration of an input device.

    Errors: DriverError when a size makes no sense; DeviceLost.
    """
    bits = [(ConfigSelect.VIRTIO_INPUT_CFG_EV_BITS, kind) for kind in TYPES.values()]
    found = await _read(header, [*_ALONE, *bits])
    name, serial, ids, properties = (found.get(one, b"") for one in _ALONE)
    codes = {selector[1]: _bits_of(found[selector]) for selector in bits if selector in found}
    axes = await _read(
        header,
        [
            (ConfigSelect.VIRTIO_INPUT_CFG_ABS_INFO, axis)
            for axis in sorted(codes.get(EV_ABS, ()))
            if axis <= 0xFF  # subsel has 8 bits
        ],
    )
    return InputInfo(
        name=name.decode(errors="replace"),
        serial=serial.decode(errors="replace"),
        ids=DeviceIds(*_unpack(DEVIDS, ids, "VIRTIO_INPUT_CFG_ID_DEVIDS")) if ids else DeviceIds(),
        properties=_bits_of(properties),
        codes=codes,
        axes={
            axis: AbsInfo(*_unpack(ABSINFO, data, f"VIRTIO_INPUT_CFG_ABS_INFO of axis {axis}"))
            for (_, axis), data in axes.items()
        },
    )


async def _read(header: VirtIOHeader, selectors: Sequence[Selector]) -> dict[Selector, bytes]:
    """Read the pieces that are there. Errors: DriverError."""
    sizes = await header.read_selections([(_select(one), (SIZE,)) for one in selectors])
    there = {
        selector: size[SIZE] for selector, size in zip(selectors, sizes, strict=True) if size[SIZE]
    }
    for selector, size in there.items():
        if size > U.size:
            raise DriverError(
                f"the device reports {size} bytes of {_spell(selector)}; the union has {U.size}"
            )
    windows = [_window(size) for size in there.values()]
    pieces = await header.read_selections(
        [(_select(selector), (window,)) for selector, window in zip(there, windows, strict=True)]
    )
    return {
        selector: piece[window].to_bytes(window.size, "little")[:size]
        for (selector, size), window, piece in zip(there.items(), windows, pieces, strict=True)
    }


def _select(selector: Selector) -> list[Access]:
    """Make the writes that choose a piece: both fields, each time (5.8.5.1)."""
    select, subsel = selector
    return [writing(SELECT, select), writing(SUBSEL, subsel)]


def _window(size: int) -> Register:
    """Return the first bytes of the union: as many as `size`, in whole accesses."""
    return replace(U, size=size + -size % max(U.widths))


def _bits_of(bitmap: bytes) -> frozenset[int]:
    """Return the numbers of the bits that are set."""
    return frozenset(
        8 * place + bit for place, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1
    )


def _unpack(layout: struct.Struct, data: bytes, what: str) -> Iterable[int]:
    """Unpack a piece of fixed size. Errors: DriverError."""
    if len(data) != layout.size:
        raise DriverError(f"the device reports {len(data)} bytes of {what}; it has {layout.size}")
    return layout.unpack(data)


def _spell(selector: Selector) -> str:
    """Name a piece."""
    return f"{selector[0].name} with subsel {selector[1]}"
