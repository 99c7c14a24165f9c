"""The configuration space of an input device: `size` and `u` for each selection (5.8.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.input.spec import ABSINFO, DEVIDS, ConfigSelect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from virtmesh.input.personality import Personality

Selection = tuple[int, int]
"""Values of `select` and `subsel`."""


def answers(personality: Personality, name: str, serial: str) -> dict[Selection, bytes]:
    """Return the bytes of `u` for every selection that is supported; the length is `size`.

    A selection that is missing has size 0 (5.8.5.2). So has an empty name, serial or bitmap.
    """
    found: dict[Selection, bytes] = {
        (ConfigSelect.VIRTIO_INPUT_CFG_ID_NAME, 0): name.encode(),
        (ConfigSelect.VIRTIO_INPUT_CFG_ID_SERIAL, 0): serial.encode(),
        (ConfigSelect.VIRTIO_INPUT_CFG_ID_DEVIDS, 0): DEVIDS.pack(*personality.ids),
        (ConfigSelect.VIRTIO_INPUT_CFG_PROP_BITS, 0): bitmap(personality.properties),
    }
    for kind, codes in personality.codes.items():
        found[ConfigSelect.VIRTIO_INPUT_CFG_EV_BITS, kind] = bitmap(codes)
    for axis, limits in personality.axes.items():
        found[ConfigSelect.VIRTIO_INPUT_CFG_ABS_INFO, axis] = ABSINFO.pack(
            limits.minimum, limits.maximum, limits.fuzz, limits.flat, limits.resolution
        )
    return {selection: data for selection, data in found.items() if data}


def identity(found: Mapping[Selection, bytes]) -> dict[str, str]:
    """Name what a driver reads by selection, for comparison (DescribeResponse.identity)."""
    named: dict[str, str] = {}
    for (select, subsel), data in found.items():
        match select:
            case ConfigSelect.VIRTIO_INPUT_CFG_ID_NAME:
                named["name"] = data.decode(errors="replace")
            case ConfigSelect.VIRTIO_INPUT_CFG_ID_SERIAL:
                named["serial"] = data.decode(errors="replace")
            case ConfigSelect.VIRTIO_INPUT_CFG_ID_DEVIDS:
                named["ids"] = data.hex()
            case ConfigSelect.VIRTIO_INPUT_CFG_PROP_BITS:
                named["properties"] = data.hex()
            case ConfigSelect.VIRTIO_INPUT_CFG_EV_BITS:
                named[f"codes of type {subsel}"] = data.hex()
            case ConfigSelect.VIRTIO_INPUT_CFG_ABS_INFO:
                named[f"limits of axis {subsel}"] = data.hex()
    return named


def bitmap(numbers: Iterable[int]) -> bytes:
    """Return a bitmap with these bits set, bit 0 first, without zero bytes at its end."""
    bits = 0
    for number in numbers:
        bits |= 1 << number
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")
