"""How exactly a recording replays: at the client, and at the driver's end.

Usage: python tests/bench/input_replay.py [--seconds 5] [--speed 1.0]

It plays a recording of a mouse that reports every 8 ms, through real processes. "Handed over" is how
late each packet left the client, against the recording's own times; "received" compares the times at
which the driver took the packets, the first one being in time. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import statistics

import virtmesh_client
from virtmesh_client.input.events import REPORT, event
from virtmesh_client.input.recording import Recording, TimedEvent
from virtmesh_client.testing import own_folder

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
    planned = [round(one.us / arguments.speed) for one in recording.events]
    late = sorted(time - times[0] - plan for time, plan in zip(times, planned, strict=True))
    print(f"{played.injected.packets} packets in {played.seconds:.3f} s at {arguments.speed:g}x")
    print(f"handed over: at most {played.drift_max_us} us late")
    print(
        f"received: {late[0]} to {late[-1]} us, median {statistics.median(late):.0f} us,"
        f" p99 {late[int(len(late) * 0.99)]} us"
    )


if __name__ == "__main__":
    main()
