"""Numbers of the specification that Rust and Python both have are the same numbers."""

from __future__ import annotations

import pytest
from virtmesh_native import spec_constants

from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.spec import BlkFeature, RequestStatus, RequestType
from virtmesh_common.virtio import mmio

PYTHON = {
    **{flag.name: int(flag) for flag in BlkFeature},
    **{one.name: int(one) for one in (*RequestType, *RequestStatus)},
    "VIRTIO_BLK_ID_BYTES": blk.VIRTIO_BLK_ID_BYTES,
    "INTERRUPT_USED_BUFFER": mmio.INTERRUPT_USED_BUFFER,
    "INTERRUPT_CONFIG_CHANGE": mmio.INTERRUPT_CONFIG_CHANGE,
}


def test_rust_and_python_share_constants() -> None:
    """So that the comparison below compares something."""
    shared = PYTHON.keys() & spec_constants().keys()
    assert {"VIRTIO_BLK_F_FLUSH", "VIRTIO_BLK_T_IN", "VIRTIO_BLK_S_OK"} <= shared


@pytest.mark.parametrize("name", sorted(PYTHON.keys() & spec_constants().keys()))
def test_a_constant_is_the_same_in_both_languages(name: str) -> None:
    """Its number stands once in each."""
    assert spec_constants()[name] == PYTHON[name]
