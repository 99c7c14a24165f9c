"""What a driver calls itself, at the terminal of whoever asks why the machine can't have a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.cli import eventually
from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import Ram
from virtmesh.machine import DoorbellKind

if TYPE_CHECKING:
    import virtmesh_client
    from tests.support.cli import Cli

pytestmark = pytest.mark.processes

MARK = "owned"
NAME = f"evil\x1b[2J\x1b]0;{MARK}\x07\x9b31m\r\u202e"
"""Clears a screen, names a window, colours what follows, and turns the direction of writing."""
COMMANDS = (("devices",), ("blk", "info", "vda"), ("report", "vda"), ("top", "--once"))
"""What says who has the disk: a list, an error, a report, and the page of `top`."""


async def test_the_name_of_a_driver_drives_no_terminal(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """It is in the list of devices and in errors, with question marks for what is no text."""
    machine.detach("vda")
    with Ram(1 << 20) as ram:
        evil = await GrpcBus.connect(
            f"unix:{cli.run_dir / 'vda.sock'}",
            ram=ram,
            driver_name=NAME,
            doorbell=DoorbellKind.RPC,
        )
        with cli.spawn("attach", "vda"):
            eventually(lambda: MARK in cli("devices").stdout)
        for command in COMMANDS:
            ran = cli(*command)
            assert MARK in ran.stdout + ran.stderr, command
            for line in (ran.stdout + ran.stderr).split("\n"):
                assert line.isprintable(), command
        await evil.close()
