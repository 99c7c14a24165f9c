"""Tables of registers: what `virtmesh registers` makes of a description."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.support.interfaces import MODE, TOY
from virtmesh_client.cli.registers import spell_facts, spell_rows
from virtmesh_client.models import DeviceDescription
from virtmesh_client.register_table import spell_interface, window_of
from virtmesh_common.interface import Interface, RegisterSpace
from virtmesh_common.uart.spec import Registers
from virtmesh_common.virtio import mmio


def test_the_fields_of_a_register_stand_below_it() -> None:
    """With their bits, what they mean, and their values."""
    assert list(spell_rows([MODE])) == [
        ("0x100", "32", "RW", "9.9", "mode", "How the toy plays"),
        ("", "[0]", "", "", "  ON", "It plays"),
        ("", "[2:1]", "", "", "  SPEED", ""),
        ("", "", "", "", "    0x1", "slow"),
        ("", "", "", "", "    0x2", "fast"),
        ("", "[3]", "", "", "  reserved", ""),
        ("", "[7:4]", "", "", "  LEVEL", ""),
        ("", "[31:8]", "", "", "  reserved", ""),
    ]


def test_a_long_list_of_values_is_left_to_programs() -> None:
    """A table that nobody can read helps nobody."""
    rows = list(spell_rows([mmio.DEVICE_ID]))
    assert len(rows) == 2
    assert rows[1][5].endswith("values: --json has them")


def test_registers_of_a_bank_say_which() -> None:
    """They share their places."""
    rows = list(spell_rows(Registers().table))
    assert [row[4] for row in rows if row[0] == "0x000"] == [
        "RBR (DLAB=0)",
        "THR (DLAB=0)",
        "DLL (DLAB=1)",
    ]


def test_a_virtio_device_has_the_registers_of_its_transport() -> None:
    """A device with a window of its own has not."""
    assert list(window_of(TOY)) == [*mmio.REGISTERS, *TOY.registers]
    window = Interface(space=RegisterSpace.WINDOW, registers=TOY.registers)
    assert window_of(window) == TOY.registers


ABOUT = DeviceDescription(
    name="toy0",
    kind="toy",
    compatible="virtio,mmio",
    virtio_device_id=42,
    mmio_size_bytes=0x200,
    queue_size_max=(8, 4),
    properties={"clock-frequency": 1_843_200},
    features=((3, "VIRTIO_TOY_F_LOUD"), (32, "VIRTIO_F_VERSION_1")),
    handover_socket="/run/toy0.handover",
    version="0.1.0",
)


def test_the_facts_for_a_driver_stand_above_the_registers() -> None:
    """Each with its value; what a service says can't reach the terminal raw."""
    hostile = replace(ABOUT, compatible="\x1b[2J")
    facts = dict(spell_facts(hostile, TOY))

    assert facts["window"] == "0x200 bytes"
    assert facts["clock-frequency"] == "1843200"
    assert facts["queues"] == "8 4"
    assert facts["offers"] == "VIRTIO_TOY_F_LOUD VIRTIO_F_VERSION_1"
    assert "\x1b" not in facts["compatible"]


def test_an_interface_is_an_object_too() -> None:
    """For programs: all of it."""
    told = json.loads(json.dumps(spell_interface(ABOUT, TOY)))
    assert (told["device"], told["kind"], told["space"]) == ("toy0", "toy", "virtio_config")
    (mode,) = (one for one in told["registers"] if one["name"] == "mode")
    assert (mode["offset"], mode["access"], mode["fields"][0]["name"]) == (0x100, "RW", "ON")
    assert mode["fields"][1]["values"] == [
        {"value": 1, "name": "slow"},
        {"value": 2, "name": "fast"},
    ]
    assert told["features"] == [{"bit": 3, "name": "VIRTIO_TOY_F_LOUD"}]
    assert told["request_types"][1] == {"number": 1, "name": "SEEK", "has_sector": True}
    assert told["request_statuses"][1] == {"number": 1, "name": "BROKE"}
    assert told["metrics"][0]["type"] == "counter"
    assert told["figures"][2]["labels"] == {"level": "loud"}
