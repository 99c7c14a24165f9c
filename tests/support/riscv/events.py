"""What a guest reads from /dev/input/event*, while a host sends."""

from __future__ import annotations

import base64
import contextlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.support.guest import Guest
from virtmesh_common.evdev import TYPES

EV_SYN, EV_KEY, EV_LED = (TYPES[name] for name in ("EV_SYN", "EV_KEY", "EV_LED"))
INPUT_EVENT = struct.Struct("<16xHHi")
"""struct input_event of a 64-bit kernel, without its time."""
SYN_DROPPED = (EV_SYN, 3)
"""The program was too slow: the kernel threw events away."""
READ = "/tmp/events"  # noqa: S108 - in the guest
LOOKS = 500
"""How often the guest is asked for events that are missing, each time by a command at its shell."""

Event = tuple[int, int, int]


@dataclass(frozen=True)
class Reader:
    """A `cat` in the guest that reads a node of an input device into a file."""

    guest: Guest

    def packets(self, count: int) -> list[tuple[Event, ...]]:
        """Wait for so many packets; returns all that came, without SYN_REPORT.

        Errors: LookupError with what came, when that is too few.
        """
        found: list[tuple[Event, ...]] = []
        for _ in range(LOOKS):
            text = self.guest.run(f"base64 {READ}")
            data = base64.b64decode(text)
            found = sent_packets(INPUT_EVENT.iter_unpack(data[: len(data) // 24 * 24]))
            if len(found) >= count:
                return found
        raise LookupError(f"of {count} packets the guest read {len(found)}: {found}")


@contextlib.contextmanager
def reading(guest: Guest, node: str) -> Iterator[Reader]:
    """Read a node, such as "/dev/input/event0", during the body."""
    # The shell opens the node, so what is sent from now on is kept for its reader.
    guest.run(f"exec 3<{node}; cat <&3 >{READ} & exec 3<&-")
    try:
        yield Reader(guest)
    finally:
        guest.run("kill $!; wait $! 2>/dev/null; true")


def sent_packets(events: Iterable[tuple[int, ...]]) -> list[tuple[Event, ...]]:
    """Split events at SYN_REPORT, and drop those of the kernel: repeats of keys, and lights."""
    found: list[tuple[Event, ...]] = []
    packet: list[Event] = []
    for kind, code, value in events:
        if kind == EV_SYN:
            if packet:
                found.append(tuple(packet))
            packet = []
        elif kind != EV_LED and (kind, value) != (EV_KEY, 2):
            packet.append((kind, code, value))
    return found


def write_event(guest: Guest, node: str, event: Event) -> None:
    """Write an event to a node, as a program does that sets a light."""
    data = INPUT_EVENT.pack(*event) + INPUT_EVENT.pack(EV_SYN, 0, 0)
    octal = "".join(f"\\{byte:03o}" for byte in data)
    guest.run(f"printf '{octal}' >{node}")


def frozen(packets: Sequence[Sequence[Event]]) -> list[tuple[Event, ...]]:
    """Return packets as `Reader.packets` does."""
    return [tuple(packet) for packet in packets]
