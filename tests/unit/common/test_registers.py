"""Registers as data: fields, reserved bits, and the tables that are made of them."""

from __future__ import annotations

from enum import IntFlag

import pytest

from virtmesh_common.blk import spec as blk
from virtmesh_common.input import spec as virtio_input
from virtmesh_common.registers import Access, Field, Register, fill_reserved, flag_fields
from virtmesh_common.uart import spec as uart
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.status import Status

TABLES = {
    "virtio-mmio": mmio.REGISTERS,
    "blk": blk.CONFIG,
    "input": virtio_input.CONFIG,
    "uart": uart.Registers().table,
    "uart with automatic flow control": uart.Registers(auto_flow=True).table,
}


class Bits(IntFlag):
    """Bits with a gap, and a second name for one of them."""

    LOW = 1
    HIGH = 1 << 5
    ALSO_HIGH = 1 << 5


def register(*fields: Field) -> Register:
    """Make a register of a byte."""
    return Register("R", 0, Access.RW, "-", "-", size=1, widths=(1,), fields=fields)


def test_bits_without_a_flag_are_reserved() -> None:
    """Between the flags and above them; a second name of a flag is no second field."""
    fields = flag_fields(Bits, 8, {Bits.LOW: "the lowest"})
    assert [(one.name, one.low, one.width, one.reserved, one.doc) for one in fields] == [
        ("LOW", 0, 1, False, "the lowest"),
        ("reserved", 1, 4, True, ""),
        ("HIGH", 5, 1, False, ""),
        ("reserved", 6, 2, True, ""),
    ]
    assert register(*fields).reserved_bits == 0b1101_1110


def test_a_field_takes_its_part_of_a_value() -> None:
    """And names it where it has a name."""
    field = Field("F", 2, 3, values=((5, "five"),))
    assert (field.mask, field.of(0xFF), field.of(0b10100)) == (0b11100, 7, 5)
    assert (field.value_name(5), field.value_name(4)) == ("five", "")


@pytest.mark.parametrize(
    "fields",
    [
        (Field("A", 0, 2), Field("B", 1)),
        (Field("A", 3), Field("B", 0)),
        (Field("A", 0, 9),),
        (Field("A", 0, 0),),
        (Field("A", -1),),
    ],
)
def test_fields_lie_in_their_register_one_after_the_other(fields: tuple[Field, ...]) -> None:
    """A table that says otherwise is wrong."""
    with pytest.raises(ValueError, match="R: "):
        register(*fields)


@pytest.mark.parametrize("name", TABLES)
def test_the_fields_of_a_register_cover_it(name: str) -> None:
    """Each bit has a name, or is marked as reserved."""
    for one in TABLES[name]:
        if one.fields:
            covered = sum(field.mask for field in one.fields)
            assert covered == (1 << 8 * one.size) - 1 or one.size > 1, one.name
            assert fill_reserved(
                (field for field in one.fields if not field.reserved), 8 * one.size
            ) == (one.fields), one.name


def test_the_status_register_has_the_bits_of_the_specification() -> None:
    """Those of the enumeration, from which drivers and devices take them."""
    named = {one.name: one.mask for one in mmio.STATUS.fields if not one.reserved}
    assert named == {status.name: status.value for status in Status}
    assert mmio.STATUS.reserved_bits == 0xFFFF_FF20


def test_a_chip_without_automatic_flow_control_reserves_its_bit() -> None:
    """Only successors of the chip have it."""
    plain, successor = uart.Registers(), uart.Registers(auto_flow=True)
    assert (plain.mcr.reserved_bits, successor.mcr.reserved_bits) == (0xE0, 0xC0)


def test_equal_registers_are_found_in_tables() -> None:
    """Whichever object of them is at hand: the hash is that of name and place."""
    first, second = uart.Registers(), uart.Registers()
    assert {first.lcr: 1}[second.lcr] == 1
    assert uart.Registers(auto_flow=True).mcr != first.mcr
