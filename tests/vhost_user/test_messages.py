"""Parsing what front ends send: whole, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.messages import SHAPES, Request
from virtmesh_common.errors import FrontEndViolation

REGION = vu.MemoryRegion(guest_address=0, size=4096, user_address=1 << 40, mmap_offset=8192)

PAYLOADS = [
    vu.Payload(),
    vu.U64(1 << 63),
    vu.VringState(index=3, num=256),
    vu.VringAddress(index=1, flags=0, descriptor=1, used=2, available=3, log=4),
    vu.SingleRegion(0, *(0, 4096, 1 << 40, 8192)),
    vu.MemoryTable((REGION,) * 8),
    vu.Config(offset=32, flags=0, content=b"\x01"),
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: type(payload).__name__)
def test_what_is_packed_is_parsed(payload: vu.Payload) -> None:
    """Each payload survives its bytes."""
    assert type(payload).parse(payload.pack()) == payload


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: type(payload).__name__)
def test_one_byte_more_or_less_is_refused(payload: vu.Payload) -> None:
    """A payload has its size; only behind the regions of a table there may be more room."""
    data = payload.pack() or b"\x00"
    with pytest.raises(FrontEndViolation):
        type(payload).parse(data[:-1] if len(data) > 1 else data)


def test_a_table_may_have_room_for_more_regions() -> None:
    """User-mode Linux sends room for two regions, and uses one."""
    table = vu.MemoryTable((REGION,))
    assert vu.MemoryTable.parse(table.pack() + bytes(32)) == table


@pytest.mark.parametrize("count", [0, 9, 0xFFFF_FFFF])
def test_a_table_has_one_to_eight_regions(count: int) -> None:
    """The count is checked against what the protocol allows before it is used."""
    with pytest.raises(FrontEndViolation, match=f"{count} memory regions"):
        vu.MemoryTable.parse(vu.MemoryTable.LAYOUT.pack(count, 0) + REGION.pack() * 8)


@given(request=st.sampled_from(list(Request)), data=st.binary(max_size=vu.PAYLOAD_LIMIT))
def test_any_bytes_parse_or_are_refused(request: Request, data: bytes) -> None:
    """No payload raises anything but FrontEndViolation, and what parses packs to a prefix."""
    kind = SHAPES[request].payload
    try:
        payload = kind.parse(data)
    except FrontEndViolation:
        return
    assert len(payload.pack()) <= len(data)
