"""Commands about the monitor itself."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from virtmesh.kernel.device import ProbeState
from virtmesh.kernel.monitor import commands
from virtmesh.kernel.monitor.command import BadCommand, command
from virtmesh.kernel.monitor.line_editor import CLEAR
from virtmesh.kernel.monitor.text import table
from virtmesh_common import __version__

if TYPE_CHECKING:
    from virtmesh.kernel.monitor.shell import Shell

ON_OFF = click.Choice(["on", "off"])


@command(click.Argument(["about"], required=False, metavar="[COMMAND]"), name="help")
async def show_help(shell: Shell, about: str | None) -> None:
    """Say what the commands are, or how to use one."""
    known = commands.all_commands()
    if about is None:
        await shell.write(table(*((name, one.summary) for name, one in known.items())))
        await shell.write("help COMMAND says more. Ctrl-C ends a command, Tab completes a word.")
    elif about in known:
        await shell.write(known[about].help)
    else:
        raise BadCommand(f"{about!r} is no command. Try: help")


@command(click.Argument(["state"], type=ON_OFF))
async def echo(shell: Shell, state: str) -> None:
    """Show what is typed, or not.

    A script that sends much reads less with `echo off`. The prompt is always shown.
    """
    shell.screen.echo = state == "on"


@command()
async def clear(shell: Shell) -> None:
    """Clear the terminal."""
    await shell.screen.write(CLEAR)


async def _version(shell: Shell) -> None:
    """Say which virtmesh this is, and which machine."""
    await shell.write(f"virtmesh {__version__} {shell.kernel.machine.name}")


version = command(name="version")(_version)
uname = command(name="uname")(_version)


@command()
async def uptime(shell: Shell) -> None:
    """Say for how long the kernel has run, and what is ready."""
    up = timedelta(seconds=int(shell.kernel.boot_log.uptime))
    devices = shell.kernel.devices.values()
    ready = sum(device.state is ProbeState.READY for device in devices)
    await shell.write(f"up {up}, {ready} of {len(devices)} devices ready")
