"""Sizes as machine files spell them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh.machine import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("0", 0), ("512", 512), ("512B", 512), ("1K", 1024), ("64M", 64 << 20)),
        *(("1GiB", 1 << 30), ("2 TiB", 2 << 40), ("0x1000", 4096), ("1kb", 1024)),
    ],
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    """Units are binary, whatever their spelling."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "1.5G", "-1", "1X", "1 000", "0x", "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """The error says how to write one."""
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=1 << 60))
def test_plain_numbers_are_bytes(number: int) -> None:
    """A number means itself, written or not."""
    assert parse_size(number) == parse_size(str(number)) == number
