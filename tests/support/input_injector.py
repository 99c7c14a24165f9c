"""An injector as a process of its own: numbered packets at full speed, or keys that are held.

    python -m tests.support.input_injector stream ADDRESS DEVICE NUMBER EVENTS
    python -m tests.support.input_injector hold ADDRESS DEVICE KEY [KEY...]

`stream` sends EVENTS events in packets of random length to a mouse, waits until all are delivered,
and prints how many packets came to which end. Each event says whose it is: `Mark`. `hold` presses
keys, prints "held" when that is delivered, and then waits to be killed.
ADDRESS is that of a kernel service, or of the device's own.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.channel import DEVICE_KEY, open_sync_channel
from virtmesh_common.evdev import code_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKET_MAX = 40
"""Most events of a random packet, without SYN_REPORT."""


@dataclass(frozen=True)
class Mark:
    """The value of an event of injector `number`: its packet, and its place there."""

    number: int
    packet: int
    place: int

    def encode(self) -> int:
        """Return the value, positive and never 0."""
        return self.number << 28 | self.packet << 8 | self.place

    @classmethod
    def decode(cls, value: int) -> Mark:
        """Read a value."""
        return cls(value >> 28, value >> 8 & 0xF_FFFF, value & 0xFF)


def lengths(number: int, events: int) -> Iterator[int]:
    """Return the lengths of the packets of an injector: the same each time, short ones mostly."""
    chance = random.Random(number)  # noqa: S311 - whoever checks the packets must know them
    while events:
        length = min(chance.choice((1, 2, 3, 3, 4, 5, 8, PACKET_MAX)), events)
        events -= length
        yield length


def packets(number: int, events: int) -> Iterator[pb.InjectRequest]:
    """Make the packets of an injector."""
    kind, code = code_of("REL_X")
    for packet, length in enumerate(lengths(number, events), start=1):
        yield pb.InjectRequest(
            sequence=packet,
            report_delivered=True,
            events=[
                pb.Event(type=kind, code=code, value=Mark(number, packet, place).encode())
                for place in range(length)
            ],
        )


def stream(stub: Any, metadata: Sequence[tuple[str, str]], number: int, events: int) -> None:
    """Send everything, and say what became of it."""
    answers = stub.Inject(packets(number, events), metadata=metadata)
    outcomes = Counter(pb.Outcome.Name(answer.outcome) for answer in answers)
    print(json.dumps(outcomes), flush=True)  # noqa: T201 - this is what the program is for


def hold(stub: Any, metadata: Sequence[tuple[str, str]], keys: Sequence[str]) -> None:
    """Press keys one after the other, and never release them."""

    def presses() -> Iterator[pb.InjectRequest]:
        for number, key in enumerate(keys, start=1):
            kind, code = code_of(key)
            event = pb.Event(type=kind, code=code, value=1)
            yield pb.InjectRequest(sequence=number, events=[event], report_delivered=True)
        threading.Event().wait()

    delivered = 0
    for answer in stub.Inject(presses(), metadata=metadata):
        delivered += answer.outcome == pb.OUTCOME_DELIVERED
        if delivered == len(keys):
            print("held", flush=True)  # noqa: T201 - as above


def main() -> None:
    """Do what the command line says."""
    action, address, device, *rest = sys.argv[1:]
    metadata = ((DEVICE_KEY, device),)
    with open_sync_channel(address) as channel:
        stub = InputServiceStub(channel)
        if action == "stream":
            number, events = rest
            stream(stub, metadata, int(number), int(events))
        else:
            hold(stub, metadata, rest)


if __name__ == "__main__":
    main()
