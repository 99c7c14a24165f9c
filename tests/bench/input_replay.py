"""How exactly a recording replays: at the client, and at the driver's end.

Usage: python tests/bench/input_replay.py [--seconds 5] [--speed 1.0]

It plays a recording of a mouse that reports every 8 ms, through real processes. "Handed over" is
how late each packet left the client, against the recording's own times; "received" compares the
times at which the driver took the packets, the first one being in time. "Bare timer" is a thread
that only waits for the same moments: what this host allows at best. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import threading
import time

from rich.console import Console
from rich.table import Table

import virtmesh_client
from tests.support.cli import own_folder
from virtmesh_client.input.recording import Recording, TimedEvent
from virtmesh_common.input.events import REPORT, event

PERIOD_US = 8000
MACHINE = """
[[devices]]
name = "mouse"
kind = "input"
[devices.options]
personality = "mouse"
"""


def make_recording(seconds: float) -> Recording:
    """Make a recording of steady moves."""
    timed = []
    for number in range(round(seconds * 1e6 / PERIOD_US)):
        us = number * PERIOD_US
        timed += [TimedEvent(us, event("REL_X", 1)), TimedEvent(us, REPORT)]
    return Recording(tuple(timed))


def bare_timer(script: list[float]) -> list[int]:
    """Wait for moments, and do nothing; returns how late each wait ended, in microseconds."""
    never = threading.Event()
    start = time.monotonic()
    late = []
    for moment in script:
        never.wait(max(0.0, start + moment - time.monotonic()))
        late.append(round((time.monotonic() - start - moment) * 1e6))
    return late


def row(name: str, late: list[int]) -> tuple[str, ...]:
    """Return a row of the table."""
    late = sorted(late)
    return name, *(str(late[int((len(late) - 1) * part)]) for part in (0.0, 0.5, 0.99, 1.0))


def main() -> None:
    """Play it, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--speed", type=float, default=1.0)
    arguments = parser.parse_args()
    recording = make_recording(arguments.seconds)
    with own_folder() as cli:
        (cli.folder / "machine.toml").write_text(MACHINE)
        cli.up("machine.toml")
        with (
            virtmesh_client.connect(cli.state.address) as machine,
            machine.input("mouse") as mouse,
            mouse.watch() as watch,
        ):
            played = mouse.play(recording, speed=arguments.speed, wait="delivered")
            times = [one.time_us for _, one in zip(recording.events, watch, strict=False)]
    moments = [moment for moment, _ in recording.script(arguments.speed)]
    received = [
        round(time_us - times[0] - moment * 1e6)
        for time_us, moment in zip(times[::2], moments, strict=True)
    ]
    table = Table("late by (us)", "min", "median", "p99", "max", box=None)
    table.add_row(*row("bare timer", bare_timer(moments)))
    table.add_row("handed over", "", "", "", str(played.drift_max_us))
    table.add_row(*row("received", received))
    Console().print(f"{played.injected.packets} packets in {played.seconds:.3f} s", table, sep="\n")


if __name__ == "__main__":
    main()
