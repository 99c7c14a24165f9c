"""Replay a recording of `virtmesh input record` or of evemu at any speed.

Usage: python input_replay.py FILE [--device mouse] [--speed 1.0] [--skip-missing]
"""

# ruff: noqa: INP001, T201 - a script for people

from __future__ import annotations

import argparse

import virtmesh_client


def main() -> None:
    """Replay the recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--device", default="mouse")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--skip-missing", action="store_true")
    arguments = parser.parse_args()
    recording = virtmesh_client.load_recording(arguments.file)
    print(f"{len(recording.events)} events in {recording.duration:.3f} s")
    with virtmesh_client.connect() as machine, machine.input(arguments.device) as device:
        played = device.play(
            recording,
            speed=arguments.speed,
            skip_missing=arguments.skip_missing,
            wait="delivered",
        )
    print(
        f"{played.injected.packets} packets {played.injected.outcome} in {played.seconds:.3f} s,"
        f" {played.skipped} events skipped, at most {played.drift_max_us} us late"
    )


if __name__ == "__main__":
    main()
