"""CycleBatch: a batch made and checked as a whole means what its accesses mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh.attach.bus import Access, guarding, reading, writing
from virtmesh.attach.cycles import CycleBatch, Prepared, pack
from virtmesh.attach.exchange import Answer, check_answer
from virtmesh_common.errors import BadStream
from virtmesh_common.uart.spec import Layout, Registers

NARROW = Registers()
WIDE = Registers(Layout(reg_shift=2, reg_io_width=4))
tables = st.sampled_from([NARROW, WIDE])


def make(
    registers: Registers, data: bytes, length: int, *, with_tail: bool
) -> tuple[CycleBatch, list[Access]]:
    """Make a batch in both ways."""
    guard, tail = guarding(registers.lsr, 0x61, 0x60), [reading(registers.iir)] * with_tail
    plain = []
    for start in range(0, len(data), length):
        piece = data[start : start + length]
        plain += [guard, *(writing(registers.thr, one) for one in piece)]
    run = [Prepared.of(writing(registers.thr, one)) for one in data]
    tails = [Prepared.of(one) for one in tail]
    return CycleBatch([Prepared.of(guard)], run, length, tails), plain + tail


@given(tables, st.binary(max_size=40), st.integers(1, 9), st.booleans())
def test_it_is_the_batch_of_its_accesses(
    registers: Registers,
    data: bytes,
    length: int,
    with_tail: bool,  # noqa: FBT001 - hypothesis passes it by position
) -> None:
    """Its length, its accesses, and its entries in a packet."""
    batch, plain = make(registers, data, length, with_tail=with_tail)

    assert (len(batch), list(batch)) == (len(plain), plain)
    assert [batch[place] for place in range(len(plain))] == plain
    assert [batch[-place] for place in range(1, len(plain) + 1)] == plain[::-1]
    assert batch[1:4] == plain[1:4]
    assert pack(batch) == pack(plain)


def outcome(batch: CycleBatch | list[Access], values: list[int]) -> object:
    """Check an answer."""
    try:
        return check_answer(batch, Answer(values))
    except BadStream as error:
        return error.message


@given(
    tables,
    st.integers(0, 20),
    st.integers(1, 6),
    st.booleans(),
    st.lists(st.sampled_from([0x60, 0x60, 0x60, 0, 0x161, 1 << 32]), max_size=30),
)
def test_an_answer_is_judged_as_that_of_its_accesses(
    registers: Registers,
    count: int,
    length: int,
    with_tail: bool,  # noqa: FBT001 - as above
    values: list[int],
) -> None:
    """Values that are too wide, guards that had to end it, too few values and too many."""
    batch, plain = make(registers, bytes(count), length, with_tail=with_tail)

    assert outcome(batch, values) == outcome(plain, values)


@pytest.mark.parametrize("place", [0, 3])
def test_what_goes_on_behind_a_guard_is_not_believed(place: int) -> None:
    """Whichever of its guards it is."""
    batch, _ = make(NARROW, b"abcd", 2, with_tail=True)
    values = [0x60, 0, 0, 0x60, 0, 0, 1]
    values[place] = 0

    with pytest.raises(BadStream, match=f"after guard {place}"):
        check_answer(batch, Answer(values))
