"""The first read of a disk, picked out of its trace, and what each step of it means.

The trace is that of `virtmesh trace -d DISK --json`: an object a line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MEANINGS = {
    "notify": "the kernel has stored the queue's number in QueueNotify",
    "pop": "the disk takes the chain from the ring in guest RAM",
    "request_start": "what the chain's header asks for",
    "request_end": "the data is in the kernel's pages, the status behind it",
    "push": "the chain is in the used ring: the kernel may have it back",
    "interrupt": "the line rises, and the PLIC tells the processor",
}
REGISTERS = {
    "InterruptStatus": "the kernel's interrupt handler asks for the reason",
    "InterruptACK": "it has seen it, and the line falls",
}
ENDING = "InterruptACK"
"""The register whose write ends the dialogue."""


@dataclass(frozen=True)
class Line:
    """One step: what happened, and what that means."""

    kind: str
    what: str
    meaning: str


def first_read(trace: Iterable[str]) -> list[Line]:
    """Return the steps of the first read; none if there was no read.

    Errors: ValueError for a line that is not JSON.
    """
    events = [one for one in map(json.loads, trace) if one["side"] == "device"]
    start = next((at for at, one in enumerate(events) if is_read(one)), None)
    if start is None:
        return []
    return [spell(one) for one in steps(events, start)]


def is_read(event: dict[str, Any]) -> bool:
    """Tell the begin of a read from other events."""
    return event["kind"] == "request_start" and " IN " in f"{event['spelled']} "


def steps(events: list[dict[str, Any]], start: int) -> Iterator[dict[str, Any]]:
    """Yield the events of a request, from the notification before it to the acknowledgement."""
    queue, token = events[start]["queue"], events[start]["token"]
    first = next(
        (
            at
            for at in range(start, -1, -1)
            if events[at]["kind"] == "notify" and events[at]["queue"] == queue
        ),
        start,
    )
    pushed = False
    for event in events[first:]:
        kind = event["kind"]
        if kind in {"pop", "push", "request_start", "request_end"}:
            if (event["queue"], event["token"]) == (queue, token):
                pushed = pushed or kind == "push"
                yield event
        elif kind == "notify" and not pushed:
            yield event
        elif pushed and (kind == "interrupt" or event.get("register") in REGISTERS):
            yield event
            if event.get("register") == ENDING:
                return


def spell(event: dict[str, Any]) -> Line:
    """Put an event into words."""
    register = event.get("register", "")
    meaning = REGISTERS.get(register) or MEANINGS.get(event["kind"], "")
    arrow = {"register_read": "<- ", "register_write": "-> "}.get(event["kind"], "")
    return Line(event["kind"], f"{arrow}{event['spelled']}", meaning)
