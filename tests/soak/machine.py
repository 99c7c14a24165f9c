"""The machine of a soak: eight services of `virtmesh up`, in a folder of their own."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NamedTuple

from tests.soak.plan import DISKS, INPUTS
from virtmesh_client.local import rundir

if TYPE_CHECKING:
    from tests.support.cli import Cli

DISK_BYTES = 32 << 20
RECORDER_EVENTS = 4096
"""What the flight recorder of a device keeps: it is full soon, and then its memory is level."""


class Life(NamedTuple):
    """One life of a process: no two have the same."""

    pid: int
    start_ticks: int


def machine_file() -> str:
    """Return the machine file: each process that does not answer is started anew."""
    parts = ['name = "soak"\n[kernel]\nwatchdog = "restart"\n']
    for disk in DISKS:
        options = f'image = "{disk}.img"\nsize = {DISK_BYTES}\n'
        parts.append(device(disk, "blk", options))
    parts += [device(name, "input", f'personality = "{name}"\n') for name in INPUTS]
    parts += [device("serial", "uart", ""), device("gpu", "gpu", 'mode = "640x400"\n')]
    return "".join(parts)


def device(name: str, kind: str, options: str) -> str:
    """Return the table of a device."""
    head = f'[[devices]]\nname = "{name}"\nkind = "{kind}"\nwatchdog = "restart"\n'
    return f"{head}[devices.options]\nrecorder = {RECORDER_EVENTS}\n{options}"


def lives(cli: Cli) -> dict[str, Life]:
    """Return the processes that run, by their names, the supervisor included."""
    state = rundir.load(cli.run_dir)
    if state is None:
        return {}
    return {one.name: Life(one.pid, one.start_ticks) for one in state.alive}


def send_signal(cli: Cli, name: str, number: signal.Signals) -> Life | None:
    """Send a signal to a process; return which it was, None if it does not run just now."""
    life = lives(cli).get(name)
    if life is None:
        return None
    try:
        os.kill(life.pid, number)
    except ProcessLookupError:
        return None
    return life
