"""Commands about the serial port that the monitor itself runs on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import click

from virtmesh.kernel.monitor.command import BadCommand, command
from virtmesh.kinds.option_types import Size
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from virtmesh.kernel.monitor.shell import Shell

SINK_MAX = 1 << 30
"""Most bytes of one sink."""
FIRST_S = 30.0
"""Longest wait for the first byte."""
SILENCE_S = 1.0
"""Silence that ends a sink once bytes have come."""


@command(click.Argument(["state"], type=click.Choice(["on", "off"])))
async def queue(shell: Shell, state: str) -> None:
    """Turn the kernel's receive queue of this port on or off.

    On, the driver empties the port's FIFO of 16 characters in its interrupt handler, into a queue
    of its own. Off, the FIFO waits until the monitor gets round to reading it: a burst overruns it.
    """
    shell.tty.set_kernel_queue(on=state == "on")
    await shell.write(f"queue: {state}")


@command(click.Argument(["count"], type=Size(), metavar="N"), raw=True)
async def sink(shell: Shell, count: int) -> None:
    """Take N bytes off this serial port, and say what has come.

    Any bytes, and none of them is echoed. It ends after N bytes, after a second of silence behind
    the first byte, or after 30 seconds without any. It tells the SHA-256 of the bytes, and how
    often the port has said that it had lost some: each time stands for one lost byte or more.
    """
    if not 0 < count <= SINK_MAX:
        raise BadCommand(f"{count} bytes can't be taken: ask for 1 to {SINK_MAX}")
    overruns_before = shell.tty.overruns_seen
    digest, received = hashlib.sha256(), 0
    await shell.write(f"sink: waiting for {count} bytes")
    async with shell.screen.undisturbed():
        while received < count:
            try:
                async with time_limit(SILENCE_S if received else FIRST_S):
                    data = await shell.typed.read()
            except TimeoutError:
                break
            taken = data[: count - received]
            shell.typed.give_back(data[len(taken) :])
            digest.update(taken)
            received += len(taken)
    overruns = shell.tty.overruns_seen - overruns_before
    await shell.write(f"sink: received {received} sha256 {digest.hexdigest()} overruns {overruns}")
