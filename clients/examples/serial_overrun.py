"""Show why a kernel has a queue behind a FIFO of 16 characters: send a burst without and with it.

Usage: python serial_overrun.py [--bytes N]

The far end sends a burst without waiting for room. With the kernel's queue off, bytes that arrive
before the reader runs overrun the FIFO, and the device counts each lost byte. With the queue on,
the interrupt handler empties the FIFO in time, and no byte is lost.
"""

# ruff: noqa: INP001, T201 - a script for people

from __future__ import annotations

import argparse
import hashlib
import os
import re
from typing import TYPE_CHECKING

import virtmesh_client

if TYPE_CHECKING:
    from virtmesh_client import Serial

PROMPT = "virtmesh> "
RESULT = re.compile(r"sink: received (\d+)\D+sha256 ([0-9a-f]{64})")


def burst(serial: Serial, data: bytes, *, queue: bool) -> tuple[int, int]:
    """Send a burst to the machine's monitor. Returns the number of lost bytes, and of overruns."""
    serial.send_line(f"queue {'on' if queue else 'off'}")
    serial.expect(PROMPT)
    before = serial.stats().overruns
    serial.send_line(f"sink {len(data)}")
    serial.expect("waiting for")
    serial.write(data, flow="none")
    received, sha256 = serial.expect(RESULT).groups
    serial.expect(PROMPT)
    lost = len(data) - int(str(received))
    same = sha256 == hashlib.sha256(data).hexdigest()
    overruns = serial.stats().overruns - before
    print(
        f"kernel queue {'on' if queue else 'off'}: {len(data)} bytes sent, {lost} lost,"
        f" {overruns} overruns of the FIFO; the data that arrived is"
        f" {'the same' if same else 'different'}"
    )
    return lost, overruns


def main() -> None:
    """Send a burst without the queue, and one with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=64 << 10)
    data = os.urandom(parser.parse_args().bytes)
    with virtmesh_client.connect() as machine, machine.serial() as serial:
        serial.send_line()
        serial.expect(PROMPT)
        lost, overruns = burst(serial, data, queue=False)
        if lost != overruns:
            raise SystemExit(f"{lost} bytes were lost, but the device counted {overruns} overruns")
        lost, _ = burst(serial, data, queue=True)
        if lost:
            raise SystemExit(f"{lost} bytes were lost although the kernel's queue was on")
    print("the device counted every lost byte, and with the queue no byte was lost")


if __name__ == "__main__":
    main()
