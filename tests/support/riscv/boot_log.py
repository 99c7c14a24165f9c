"""Boot logs that can be compared: without times, addresses and measured speeds.

`recorded` cuts the log out of a console's text; `comparable` returns its lines with what differs
from run to run, or from host to host, taken out.
"""

from __future__ import annotations

import re

from tests.support.riscv.console import READY

FIRST = "OpenSBI v"
CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\r")
STAMP = re.compile(r"^\[ *\d+\.\d+\] ")
REPLACED = (
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"\b0x[0-9a-f]+\b"), "ADDRESS"),
    (re.compile(r"\b[0-9a-f]{8,16}(?:-[0-9a-f]{8,16})?\b"), "ADDRESS"),
    (re.compile(r"\b\d+(?:\.\d+)? ?(?:ms|us|ns|usecs|nsecs)\b"), "TIME"),
    (re.compile(r"(?<=audit\()[\d.:]+"), "TIME"),
    (re.compile(r"(?<=access time to unaligned word access is ).*"), "SPEED"),
    (re.compile(r"\b\d+K\b"), "SIZE"),
    # Who made the device, not what it is.
    (re.compile(r"(?<=input: ).*(?= as /devices/)"), "NAME"),
    (re.compile(r"(?<=guest: input )(event\d+) is .*"), r"\1 is NAME"),
)
ANYWHERE = (
    re.compile(r"random: crng init done"),
    re.compile(r"Freeing initrd memory"),
    re.compile(r"hrtimer: interrupt took"),
)
"""Lines whose place, or whether they are said, depends on a seed or on how long something takes."""


def recorded(text: str) -> str:
    """Return the boot log in a console's text, from the firmware's banner to /init's last line.

    Errors: ValueError when the text has no such log.
    """
    plain = CONTROL.sub("", text)
    start = plain.index(FIRST)
    end = plain.index(READY, start) + len(READY)
    return plain[start:end] + "\n"


def comparable(log: str) -> list[str]:
    """Return the lines of a log as they are to be compared."""
    lines = []
    for line in log.splitlines():
        plain = STAMP.sub("", line.rstrip())
        if any(pattern.search(plain) for pattern in ANYWHERE):
            continue
        for pattern, word in REPLACED:
            plain = pattern.sub(word, plain)
        lines.append(plain)
    return lines
