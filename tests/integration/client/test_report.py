"""`virtmesh report` on a machine of real processes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import grpc
import pytest

from tests.support.cli import Cli, own_folder
from virtmesh_client import connect
from virtmesh_common.api.register.v1 import register_pb2
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub

pytestmark = pytest.mark.processes
VIOLATIONS = 4


@pytest.fixture(scope="module")
def machine() -> Iterator[Cli]:
    """Start a machine with a disk, a keyboard and a serial port, and use each of them."""
    with own_folder() as cli:
        cli.up("--disk", "disk.img,size=16M", "--input", "keyboard")
        with connect(cli.state.address) as machine:
            disk = machine.disk("vda")
            disk.write(0, os.urandom(65536))
            disk.flush()
            disk.discard(0, 65536)
            disk.resize(32 << 20)
            with machine.input("keyboard") as keyboard:
                keyboard.key("a", wait="delivered")
                keyboard.set_led("capslock")
        assert cli("serial", "burst", "4K").returncode == 0
        yield cli


def test_our_own_drivers_break_no_rule(machine: Cli) -> None:
    """The kernel service drives a disk, a keyboard and a serial port: the report is empty."""
    result = machine("report")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("no violations: ")
    told = json.loads(machine("report", "--json").stdout)
    assert {one["device"]: one["violations"] for one in told} == {
        "vda": [],
        "keyboard": [],
        "serial": [],
    }
    assert machine("report", "-q").stdout == ""


def test_a_device_that_is_not_there_is_an_error(machine: Cli) -> None:
    """Not a report without violations."""
    result = machine("report", "nosuch")
    assert (result.returncode, "nosuch" in result.stderr) == (1, True)


def test_a_machine_without_a_cpu_has_no_report_of_a_board(machine: Cli) -> None:
    """Those of its devices are all; to ask for the board's is an error."""
    result = machine("report", "board")
    assert (result.returncode, result.stdout, "board" in result.stderr) == (1, "", True)


def test_a_violation_is_shown_with_its_clause_and_has_a_status_of_its_own() -> None:
    """Of a disk that is left to guests: a script makes accesses that no guest should."""
    with own_folder() as cli:
        cli.up("--vhost-user", "--disk", "disk.img,size=16M")
        with connect(cli.state.address) as machine:
            (endpoint,) = (one.endpoint for one in machine.devices() if one.name == "vda")
        with grpc.insecure_channel(endpoint) as channel:
            stub = RegisterServiceStub(channel)
            for _ in range(2):
                with pytest.raises(grpc.RpcError):
                    stub.Read(register_pb2.ReadRequest(offset=0xF00, width_bytes=4))
        result = cli("report", "vda")
        assert (result.returncode, result.stderr) == (VIOLATIONS, "")
        heading, row = result.stdout.splitlines()
        assert heading.split() == [
            "DEVICE",
            "CLAUSE",
            "COUNT",
            "RULE",
            "STATEMENT",
            "FIRST",
            "PC",
            "WHAT",
        ]
        assert row.split()[:6] == ["vda", "virtio", "1.4", "4.2.2.2", "2", "undescribed-register"]
        told = cli("report", "--json")
        assert told.returncode == VIOLATIONS
        (violation,) = next(
            one["violations"] for one in json.loads(told.stdout) if one["device"] == "vda"
        )
        assert (violation["clause"], violation["count"], violation["pc"]) == ("4.2.2.2", 2, None)
        assert violation["access"] == {
            "offset": 0xF00,
            "width_bytes": 4,
            "is_write": False,
            "value": 0,
        }
        shown = cli("trace", "-d", "vda", "--kinds", "violation").stdout
        assert "undescribed-register" in shown
