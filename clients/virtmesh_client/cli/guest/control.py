"""`virtmesh guest status`, `reset` and `stop`: from any host that reaches the machine."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from virtmesh_client.cli.seconds import Seconds
from virtmesh_client.cli.settings import Settings, common, complete_device
from virtmesh_client.cli.show import show_json, show_table
from virtmesh_client.guests.control import STOP_SECONDS, GuestInfo
from virtmesh_common.printable import say

serial_option = click.option(
    "--serial",
    default="",
    metavar="PORT",
    shell_complete=complete_device,
    help="Serial port that is the guest's console  [default: the machine's console]",
)


@click.command()
@common
@click.pass_obj
def status(settings: Settings) -> None:
    """List the guests whose consoles are serial ports of the machine."""
    with settings.connect() as machine:
        found = machine.guests()
    if settings.json:
        show_json(found)
        return
    columns = ("CONSOLE", "KIND", "STATE", "PID", "SINCE", "RESETS", "DISKS", "INPUTS", "KEPT BY")
    show_table(columns, [row(one) for one in found])


def row(guest: GuestInfo) -> tuple[object, ...]:
    """Return the row of a guest."""
    since = datetime.fromtimestamp(guest.started_at, UTC).astimezone()
    return (
        guest.serial,
        guest.kind,
        guest.state,
        guest.pid or "-",
        f"{since:%Y-%m-%d %H:%M:%S}",
        guest.resets,
        " ".join(guest.disks) or "-",
        " ".join(guest.inputs) or "-",
        f"{'background' if guest.detached else 'terminal'} ({guest.runner_pid})",
    )


@click.command()
@serial_option
@common
@click.pass_obj
def reset(settings: Settings, serial: str) -> None:
    """Reset a guest as a reset button does; what it had not written to its disks is lost.

    It boots when this returns.
    """
    with settings.connect() as machine:
        info = machine.guest(serial).reset()
    if settings.json:
        show_json(info)
    elif not settings.quiet:
        say(f"{info.serial}: the guest {info.kind} boots anew", err=True)


@click.command()
@serial_option
@click.option("--force", is_flag=True, help="Kill it at once.")
@click.option(
    "--timeout",
    type=Seconds(300),
    default=STOP_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long it may take to power off before it is killed.",
)
@common
@click.pass_obj
def stop(settings: Settings, serial: str, force: bool, timeout: float) -> None:  # noqa: FBT001
    """Stop a guest: ask it to power off, and kill it when it does not.

    QEMU presses the power button, user-mode Linux Ctrl-Alt-Delete. It has ended when this returns.
    """
    begun = time.monotonic()
    with settings.connect() as machine:
        killed = machine.guest(serial).stop(force=force, timeout=timeout)
    seconds = time.monotonic() - begun
    if settings.json:
        show_json({"killed": killed, "seconds": seconds})
    elif not settings.quiet:
        say(
            f"the guest {'was killed' if killed else 'has stopped'} after {seconds:.1f} s", err=True
        )
