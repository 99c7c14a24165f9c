"""Interfaces on the wire: what goes in comes out, and what is out of bounds is refused."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.interfaces import BAD_INTERFACES, TOY, wide_registers
from tests.support.steps import count_steps
from virtmesh_common.api.device.v1 import interface_pb2 as pb
from virtmesh_common.interface import Interface, RegisterSpace
from virtmesh_common.interface_message import REGISTER_MAX, encode_interface, parse_interface
from virtmesh_common.uart.spec import Layout, Registers
from virtmesh_common.virtio.mmio import REGISTERS

WINDOWS = {
    "virtio-mmio": REGISTERS,
    "uart": Registers().table,
    "wide uart": Registers(Layout(3, 4), auto_flow=True).table,
}


def test_an_interface_arrives_as_it_was_sent() -> None:
    """Each part of it."""
    assert parse_interface(encode_interface(TOY)) == TOY


@pytest.mark.parametrize("registers", WINDOWS.values(), ids=WINDOWS.keys())
def test_whole_windows_arrive(registers: tuple[object, ...]) -> None:
    """With reserved registers, and with banks that share their places."""
    window = Interface(space=RegisterSpace.WINDOW, registers=registers)  # type: ignore[arg-type]
    assert parse_interface(encode_interface(window)) == window


def test_what_is_not_known_is_empty() -> None:
    """A device may say nothing."""
    assert parse_interface(pb.Interface()) == Interface()


@pytest.mark.parametrize("message", BAD_INTERFACES.values(), ids=BAD_INTERFACES.keys())
def test_what_is_out_of_bounds_is_refused_at_once(message: pb.Interface) -> None:
    """Before it costs anything, in words that fit a line."""
    began = time.process_time()
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words differ by what is wrong
        parse_interface(message)
    assert time.process_time() - began < 1
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_wide_registers_cost_no_more_than_narrow_ones() -> None:
    """As many descriptions as a trace can hold are read in as many steps, whatever the widths."""

    def read(message: pb.Interface) -> None:
        for _ in range(256):
            assert len(parse_interface(message).registers) == 17

    narrow, wide = wide_registers(1), wide_registers(REGISTER_MAX)
    steps = count_steps(lambda: read(wide))
    assert steps == count_steps(lambda: read(narrow))
    assert steps < 2000 * 256


@given(st.binary(max_size=200))
def test_any_message_is_taken_or_refused(data: bytes) -> None:
    """There is nothing in between."""
    message = pb.Interface()
    try:
        message.ParseFromString(data)
    except Exception:  # noqa: BLE001 - protobuf's own class of errors differs by version
        return
    try:
        interface = parse_interface(message)
    except ValueError:
        return
    assert parse_interface(encode_interface(interface)) == interface
