"""The numbers of the specification are the same in Rust and in Python."""

from __future__ import annotations

from enum import IntEnum, IntFlag

import pytest
import virtmesh_native

from virtmesh_common.blk import spec as blk
from virtmesh_common.virtio import mmio

NATIVE: dict[str, int] = getattr(virtmesh_native, "spec_constants", dict)()
ENUMERATIONS: tuple[type[IntEnum | IntFlag], ...] = (
    blk.BlkFeature,
    blk.RequestType,
    blk.RequestStatus,
)
NUMBERS = {
    "VIRTIO_BLK_ID_BYTES": blk.VIRTIO_BLK_ID_BYTES,
    "INTERRUPT_USED_BUFFER": mmio.INTERRUPT_USED_BUFFER,
    "INTERRUPT_CONFIG_CHANGE": mmio.INTERRUPT_CONFIG_CHANGE,
}
PYTHON = NUMBERS | {
    name: int(value) for one in ENUMERATIONS for name, value in one.__members__.items()
}
RINGS = ("VIRTQ_", "RING_EVENT_", "MAX_QUEUE_SIZE", "DESC_SIZE", "MAX_CHAIN_BYTES", "EVENT_AREA_")
"""Begins the names of what only the rings know, which are native."""
FLAGS = {"VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP"}
"""Numbers of the native side that Python has no use for."""

pytestmark = pytest.mark.skipif(not NATIVE, reason="this build of virtmesh_native has no table")


@pytest.mark.parametrize("name", sorted(PYTHON.keys() & NATIVE.keys()))
def test_both_tables_have_the_same_number(name: str) -> None:
    """By its name in the specification."""
    assert NATIVE[name] == PYTHON[name]


def test_what_a_disk_executes_natively_has_a_name_in_python() -> None:
    """All constants of the native side that are not of the rings alone are compared above."""
    shared = {name for name in NATIVE if not name.startswith(RINGS)} - FLAGS
    assert shared <= PYTHON.keys()
