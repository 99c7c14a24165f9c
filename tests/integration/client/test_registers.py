"""`virtmesh registers` on a machine of real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.cli import Cli, own_folder
from virtmesh_client import connect
from virtmesh_common.blk import spec as blk

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def machine() -> Iterator[Cli]:
    """Start a machine with a disk, a keyboard and a serial port."""
    with own_folder() as cli:
        cli.up("--disk", "disk.img,size=16M", "--input", "keyboard")
        yield cli


def test_the_window_of_a_disk_is_shown(machine: Cli) -> None:
    """The registers of the transport, the configuration space, and the fields of both."""
    result = machine("registers", "-d", "vda")
    assert result.returncode == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0][0] == "vda"
    assert ["queues", "256"] in lines
    assert "VIRTIO_BLK_F_FLUSH" in next(line for line in lines if line[0] == "offers")
    assert ["OFFSET", "BITS", "ACCESS", "CLAUSE", "NAME", "MEANING"] in lines
    assert ["0x070", "32", "RW", "4.2.2", "Status"] in [line[:5] for line in lines]
    assert ["[2]", "DRIVER_OK"] in [line[:2] for line in lines]
    assert ["[31:8]", "reserved"] in [line[:2] for line in lines]
    assert ["0x100", "64", "R", "5.2.4", "capacity"] in [line[:5] for line in lines]
    assert "\x1b" not in result.stdout


def test_all_devices_are_shown_without_a_name(machine: Cli) -> None:
    """As objects for programs."""
    told = json.loads(machine("registers", "--json").stdout)
    assert {one["device"]: one["kind"] for one in told} == {
        "vda": "blk",
        "keyboard": "input",
        "serial": "uart",
    }
    (port,) = (one for one in told if one["device"] == "serial")
    assert port["properties"] == {
        "clock-frequency": 3_686_400,
        "reg-shift": 0,
        "reg-io-width": 1,
    }
    (mcr,) = (one for one in port["registers"] if one["name"] == "MCR")
    assert [one["name"] for one in mcr["fields"]] == [
        "DTR",
        "RTS",
        "OUT1",
        "OUT2",
        "LOOP",
        "reserved",
    ]
    assert [one["label"] for one in port["figures"]] == ["in", "out", "waiting", "overruns"]


def test_a_script_can_ask_for_the_same(machine: Cli) -> None:
    """As objects of the client library."""
    with connect(machine.state.address) as connection:
        interface = connection.interface("vda")
    assert interface.registers == blk.CONFIG
    assert interface.feature_names[9] == "VIRTIO_BLK_F_FLUSH"


def test_a_device_that_is_not_there_is_named(machine: Cli) -> None:
    """In one line."""
    result = machine("registers", "-d", "vdz")
    assert result.returncode == 1
    assert "vdz" in result.stderr
    assert len(result.stderr.splitlines()) == 1
