"""The ring of output, against the whole of what was sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh.uart.line import scrollback
from virtmesh.uart.line.scrollback import HEADROOM_BYTES, Scrollback

CAPACITY = 64 + HEADROOM_BYTES


def pattern(length: int) -> bytes:
    """Make bytes that differ with their place."""
    return b"".join(i.to_bytes(4, "big") for i in range(length // 4 + 1))[:length]


def test_an_empty_scrollback() -> None:
    """It begins and ends at 0, and there is nothing to read."""
    kept = Scrollback(64)
    assert (kept.first, kept.last_chance, kept.end) == (0, 0, 0)
    assert kept.read(0, 100) == b""


def test_offsets_count_from_the_first_byte_ever() -> None:
    """Also when that has long been forgotten."""
    kept = Scrollback(64)
    sent = pattern(3 * CAPACITY + 17)
    for start in range(0, len(sent), 1000):
        kept.append(sent[start : start + 1000])
    assert (kept.end, kept.first) == (len(sent), len(sent) - 64)
    assert kept.last_chance == len(sent) - CAPACITY
    assert kept.read(kept.last_chance, CAPACITY) == sent[-CAPACITY:]


def test_more_than_it_holds_in_one_piece() -> None:
    """The end of it is kept."""
    kept = Scrollback(64)
    kept.append(b"before")
    sent = pattern(CAPACITY + 5000)
    kept.append(sent)
    assert kept.end == 6 + len(sent)
    assert kept.read(kept.last_chance, 1 << 30) == sent[-CAPACITY:]


@pytest.mark.parametrize("offset", [CAPACITY + 101, 99])
def test_an_offset_that_is_not_there(offset: int) -> None:
    """Neither the one before the oldest nor the one behind the next."""
    kept = Scrollback(64)
    kept.append(bytes(CAPACITY + 100))
    with pytest.raises(IndexError, match=str(offset)):
        kept.read(offset, 1)


@given(pieces=st.lists(st.binary(max_size=50)), size=st.integers(1, 40), limit=st.integers(1, 60))
def test_it_reads_as_the_whole_would(pieces: list[bytes], size: int, limit: int) -> None:
    """From every offset that is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scrollback, "HEADROOM_BYTES", 3)
        kept = Scrollback(size)
    for piece in pieces:
        kept.append(piece)
    sent = b"".join(pieces)
    assert kept.end == len(sent)
    for offset in range(kept.last_chance, kept.end + 1):
        assert kept.read(offset, limit) == sent[offset : offset + limit]
