"""A load on every device of a guest, which checks its data itself and prints how far it is.

Writers write files that are synced, read each one past the page cache, and compare. Readers read
files that were there before, and compare. A scanner reads the whole disk over and over. A `cat` for
each input device keeps its events. The shell prints a line of progress over and over, all of one
length, so that lost characters can be counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.riscv.boot import INPUTS
from tests.support.riscv.events import write_event
from tests.support.riscv.injecting import event_name
from virtmesh_common.evdev import TYPES

if TYPE_CHECKING:
    from tests.support.guest import Guest
    from tests.support.riscv.boot import Rig

WRITERS, READERS = 2, 2
SLOTS = 8
"""Files of each writer, as in load.sh."""
FILES = 4
"""Files that the readers read."""
FILE_BYTES = 65536
SCRIPT = Path(__file__).with_name("load.sh")
"""Goes to the disk: `at_shell(..., files=(SCRIPT,))`."""
LINE = re.compile(r"L(\d{7}) ([ \d]{39}) \1E\r\n")
LINE_CHARACTERS = 59
EVENT_BYTES = 24
"""Bytes of struct input_event of a 64-bit kernel."""
END_SECONDS = 300.0
EV_REP = TYPES["EV_REP"]
REP_DELAY, NEVER_MS = 0, 1_000_000_000


@dataclass(frozen=True)
class Progress:
    """A line that the guest printed: its number, files verified, events read of each device."""

    number: int
    verified: int
    events: dict[str, int]


def begin(rig: Rig) -> None:
    """Start the load. The shell prints progress from then on."""
    guest = rig.guest
    nodes = {device: event_name(rig, device) for device in INPUTS}
    guest.run(f". /mnt/{SCRIPT.name}")
    guest.run("mkdir -p /mnt/load /mnt/corpus /tmp/sums /tmp/corpus /tmp/ev; touch /tmp/go")
    guest.run(": >/tmp/failed; : >/tmp/done; : >/tmp/dd")
    for number in range(FILES):
        guest.run(f"head -c {2 * FILE_BYTES} /dev/urandom >/mnt/corpus/{number}")
        guest.run(f"sha256sum </mnt/corpus/{number} >/tmp/corpus/{number}")
    guest.run("sync")
    # A held key repeats nothing: the guest's programs count events.
    write_event(guest, f"/dev/input/{nodes['keyboard']}", (EV_REP, REP_DELAY, NEVER_MS))
    for device, node in nodes.items():
        # The shell opens the node, so what is sent from now on is kept for its reader.
        guest.run(f"exec 3</dev/input/{node}; cat <&3 >/tmp/ev/{device} & exec 3<&-")
        guest.run("echo $! >>/tmp/cats")
    guest.run("dmesg >/tmp/dmesg.before")
    for kind, count in (("writer", WRITERS), ("reader", READERS), ("scanner", 1)):
        for number in range(count):
            guest.run(f"{kind} {number} & echo $! >>/tmp/workers")
    guest.begin("progress")


def next_progress(guest: Guest) -> Progress:
    """Wait for the next whole line of progress. Errors: GuestTimeout; GuestError."""
    guest.expect(LINE.pattern)
    match = guest.console.match
    assert isinstance(match, re.Match)
    verified, *sizes = map(int, match[2].split())
    events = (size // EVENT_BYTES for size in sizes)
    return Progress(int(match[1]), verified, dict(zip(INPUTS, events, strict=True)))


def stop(guest: Guest) -> None:
    """Stop the lines, then writers and readers, each at the end of its file."""
    guest.interrupt()
    guest.run("rm /tmp/go; wait $(cat /tmp/workers)", END_SECONDS)


def keep_results(guest: Guest) -> None:
    """Copy events and sums to the disk, and unmount it."""
    guest.run("kill $(cat /tmp/cats); wait; cp -r /tmp/ev /mnt/ev; cat /tmp/sums/* >/mnt/sums")
    guest.run("cd /mnt/corpus; sha256sum * >/mnt/corpus.sums; cd /; umount /mnt")


def complaints(guest: Guest) -> str:
    """Return what writers, readers and the kernel complained about."""
    said = guest.run("cat /tmp/failed /tmp/dd | grep -v -E 'records (in|out)|copied' || true")
    guest.run("dmesg >/tmp/dmesg.after")
    return said + guest.run("diff /tmp/dmesg.before /tmp/dmesg.after || true")


def losses(text: str) -> list[int]:
    """Return the lost characters of each gap in the lines of a console's text.

    Errors: ValueError for a line that came twice, or out of order.
    """
    lines = list(LINE.finditer(text))
    found = []
    for before, after in pairwise(lines):
        missing = int(after[1]) - int(before[1]) - 1
        if missing < 0:
            raise ValueError(f"line {after[1]} came after line {before[1]}")
        lost = missing * LINE_CHARACTERS - (after.start() - before.end())
        if lost or missing:
            found.append(lost)
    return found
