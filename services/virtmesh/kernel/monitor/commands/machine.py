"""Commands about the machine: its devices, its interrupts, its boot log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtmesh.kernel.boot_log import LINES_KEPT
from virtmesh.kernel.monitor.command import command
from virtmesh.kernel.monitor.text import table

if TYPE_CHECKING:
    from virtmesh.kernel.monitor.shell import Shell


@command()
async def lsdev(shell: Shell) -> None:
    """List the devices of the machine."""
    rows = [
        (
            name,
            f"{device.node.address:#x}",
            device.node.irq,
            device.state.name.lower(),
            device.driver_name or "-",
            device.requests,
            device.detail,
        )
        for name, device in shell.kernel.devices.items()
    ]
    heading = ("NAME", "ADDRESS", "IRQ", "STATE", "DRIVER", "REQUESTS", "DETAIL")
    await shell.write(table(heading, *rows))


@command()
async def irq(shell: Shell) -> None:
    """Count the interrupts of each source.

    HANDLED had something for their driver to do, SPURIOUS had nothing.
    """
    names = {device.node.irq: name for name, device in shell.kernel.devices.items()}
    rows = [
        (line.irq, names.get(line.irq, "-"), line.handled, line.spurious)
        for line in shell.kernel.irq.lines
    ]
    await shell.write(table(("IRQ", "DEVICE", "HANDLED", "SPURIOUS"), *rows))


@command(
    click.Option(
        ["-n", "count"],
        type=click.IntRange(1, LINES_KEPT),
        default=LINES_KEPT,
        metavar="N",
        help="Only the last N lines.",
    )
)
async def dmesg(shell: Shell, count: int) -> None:
    """Show the boot log of the kernel.

    It has what was probed, which features were negotiated, and what was lost and came back.
    """
    for line in shell.kernel.boot_log.last(count):
        await shell.write(line)
