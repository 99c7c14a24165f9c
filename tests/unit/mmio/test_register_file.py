"""The register dispatcher reads its table and nothing else."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from virtmesh_native import Interrupt, Recorder

from virtmesh.mmio.metrics import register_metrics
from virtmesh.mmio.register_file import RegisterFile
from virtmesh.mmio.reserved_bits import ReservedBits
from virtmesh.telemetry.recorder import read_page
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.errors import (
    BadValue,
    BadWidth,
    Misaligned,
    NotReadable,
    NotWritable,
    RegisterError,
    UnknownRegister,
)
from virtmesh_common.registers import WIDTHS, Access, Field, Register, fill_reserved

FIXED = Register("Fixed", 0x0, Access.R, "-", "a constant", reset=0x1122_3344)
ONLY_WRITTEN = Register("OnlyWritten", 0x4, Access.W, "-", "a command")
BOTH = Register("Both", 0x8, Access.RW, "-", "a value")
OLD = Register("Old", 0xC, Access.RESERVED, "-", "gone")
WIDE = Register("Wide", 0x10, Access.R, "-", "two halves", size=8)
BYTE = Register("Byte", 0x18, Access.RW, "-", "a byte", size=1, widths=(1,))
TABLE = (FIXED, ONLY_WRITTEN, BOTH, OLD, WIDE, BYTE)


class Box:
    """The state behind the registers of these tests."""

    def __init__(self) -> None:
        self.values = dict.fromkeys(TABLE, 0)
        self.file = RegisterFile(
            TABLE,
            readers={
                WIDE: lambda: 0x8877_6655_4433_2211,
                BOTH: lambda: self.values[BOTH],
                BYTE: lambda: self.values[BYTE],
            },
            writers={
                register: partial(self.values.__setitem__, register)
                for register in (ONLY_WRITTEN, BOTH, BYTE)
            },
        )


def test_a_register_without_a_reader_holds_its_reset_value() -> None:
    """Constants are data only."""
    assert Box().file.read(0x0, 4) == 0x1122_3344


def test_a_wide_register_is_read_in_parts() -> None:
    """The low half comes first: values are little-endian."""
    file = Box().file
    assert (file.read(0x10, 4), file.read(0x14, 4)) == (0x4433_2211, 0x8877_6655)


@pytest.mark.parametrize(
    ("offset", "width", "error"),
    [
        (0x0, 3, BadWidth),
        (0x0, 16, BadWidth),
        (0x0, -1, BadWidth),
        (0x0, 2, BadWidth),
        (0x2, 4, Misaligned),
        (0x4, 4, NotReadable),
        (0xC, 4, UnknownRegister),
        (0x19, 1, UnknownRegister),
        (-4, 4, UnknownRegister),
    ],
)
def test_refused_reads(offset: int, width: int, error: type[RegisterError]) -> None:
    """Each has its class, and is counted by its reason."""
    file = Box().file
    with pytest.raises(error):
        file.read(offset, width)
    assert file.refused == {error.reason: 1}
    assert not file.reads


@pytest.mark.parametrize(
    ("offset", "width", "value", "error"),
    [
        (0x0, 4, 0, NotWritable),
        (0x8, 4, 1 << 32, BadValue),
        (0x8, 4, -1, BadValue),
        (0x18, 1, 256, BadValue),
        (0xC, 4, 0, UnknownRegister),
    ],
)
def test_refused_writes(offset: int, width: int, value: int, error: type[RegisterError]) -> None:
    """A refused write changes nothing."""
    box = Box()
    with pytest.raises(error):
        box.file.write(offset, width, value)
    assert set(box.values.values()) == {0}
    assert box.file.refused == {error.reason: 1}


def test_accesses_are_counted_by_register() -> None:
    """Touches of reserved registers are counted by name as well."""
    file = Box().file
    file.read(0x10, 4)
    file.read(0x14, 4)
    file.write(0x8, 4, 1)
    with pytest.raises(UnknownRegister):
        file.write(0xC, 4, 1)
    assert (file.reads, file.writes, file.reserved) == ({"Wide": 2}, {"Both": 1}, {"Old": 1})


def test_overlapping_registers_make_no_table() -> None:
    """A table is checked when it is read."""
    with pytest.raises(ValueError, match="overlaps"):
        RegisterFile((FIXED, FIXED), readers={}, writers={})


def test_the_direction_selects_between_two_registers_of_one_offset() -> None:
    """One is only read, the other only written."""
    written: list[int] = []
    shown = Register("Shown", 0x0, Access.R, "-", "a status", reset=7)
    told = Register("Told", 0x0, Access.W, "-", "a command")
    file = RegisterFile((shown, told), readers={}, writers={told: written.append})
    file.write(0x0, 4, 5)
    assert (file.read(0x0, 4), written) == (7, [5])
    assert (file.reads, file.writes) == ({"Shown": 1}, {"Told": 1})


@pytest.mark.parametrize("access", [Access.R, Access.W, Access.RW, Access.RESERVED])
def test_a_register_shares_its_offset_with_none_of_its_own_direction(access: Access) -> None:
    """One that is read and written, or reserved, has both directions for itself."""
    first = Register("First", 0x0, Access.RW, "-", "both ways")
    second = Register("Second", 0x0, access, "-", "in the way")
    with pytest.raises(ValueError, match="Second overlaps First"):
        RegisterFile((first, second), readers={}, writers={first: print, second: print})


def test_a_writable_register_needs_a_writer() -> None:
    """Nothing is written into nowhere."""
    with pytest.raises(ValueError, match="no writer"):
        RegisterFile((BOTH,), readers={}, writers={})


def test_a_writable_register_is_written_whole() -> None:
    """There is no rule for half a value."""
    with pytest.raises(ValueError, match="only width"):
        Register("Wide", 0, Access.RW, "-", "no", size=8, widths=(4,))


@given(
    st.integers(-8, 64),
    st.sampled_from([*WIDTHS, 0, 3, 16]),
    st.none() | st.integers(-1, 1 << 65),
)
def test_no_access_does_anything_but_answer_or_refuse(
    offset: int, width: int, value: int | None
) -> None:
    """Whatever comes, the result fits the width, or the error is a RegisterError."""
    file = Box().file
    try:
        if value is None:
            assert 0 <= file.read(offset, width) < 1 << 8 * width
        else:
            file.write(offset, width, value)
    except RegisterError:
        assert sum(file.refused.values()) == 1


HALF = Register(
    "Half",
    0x20,
    Access.RW,
    "1.2",
    "four bits",
    fields=fill_reserved((Field("VALUE", 0, 4),), 32),
)


def half(interrupt: Interrupt | None = None) -> tuple[RegisterFile, list[int]]:
    """Make a file of one register with reserved bits, and what is written to it."""
    written: list[int] = []
    reserved_bits = ReservedBits(interrupt)
    file = RegisterFile(
        (HALF,), readers={}, writers={HALF: written.append}, reserved_bits=reserved_bits
    )
    return file, written


def test_a_write_that_sets_reserved_bits_is_executed_and_counted() -> None:
    """What the device does with the value is not changed by that."""
    file, written = half()
    for value in (0xF, 0x10, 0xFFFF_FFFF):
        file.write(HALF.offset, 4, value)
    assert written == [0xF, 0x10, 0xFFFF_FFFF]
    assert (file.writes["Half"], file.reserved_bits.writes["Half"]) == (3, 2)


def test_a_write_that_is_refused_sets_nothing() -> None:
    """It is counted as refused alone."""

    def refuse(value: int) -> None:
        raise BadValue(f"{value:#x}")

    file = RegisterFile((HALF,), readers={}, writers={HALF: refuse})
    with pytest.raises(BadValue):
        file.write(HALF.offset, 4, 0x10)
    assert not file.reserved_bits.writes
    assert file.refused["BAD_VALUE"] == 1


def test_reserved_bits_are_logged_once_for_each_register() -> None:
    """A driver that does it again and again does not fill the log."""
    file, _ = half()
    with capture_logs() as logged:
        for value in (0x10, 0x20):
            file.write(HALF.offset, 4, value)
    assert [(one["register"], one["reserved"]) for one in logged] == [("Half", "0x10")]


def test_reserved_bits_are_traced_each_time() -> None:
    """By the recorder that the device has by then."""
    interrupt = Interrupt()
    file, _ = half(interrupt)
    interrupt.recorder = Recorder(16)
    file.write(HALF.offset, 4, 0x1F)
    file.write(HALF.offset, 4, 0x0F)
    page = read_page(interrupt.recorder, 0, 16)
    assert list(page.kinds) == [trace_pb2.EVENT_KIND_RESERVED_BITS]
    assert (page.tokens[0], page.details[0]) == (HALF.offset, 4)
    assert (page.values[0], page.extras[0]) == (0x1F, 0x10)


def test_files_of_one_window_count_reserved_bits_together() -> None:
    """A register that is in both is not counted twice."""
    file, _ = half()
    other = RegisterFile((), readers={}, writers={}, reserved_bits=file.reserved_bits)
    file.write(HALF.offset, 4, 0x10)
    metrics = {one.name: one for one in register_metrics(file, other)}
    (sample,) = metrics["virtmesh_register_reserved_bits_writes"].samples
    assert (sample.labels, sample.value) == ({"register": "Half"}, 1)
