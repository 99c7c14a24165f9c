"""The first read of a disk, picked out of its trace."""

from __future__ import annotations

import json
from typing import Any

from tools.riscv.dialogue import first_read


def event(kind: str, spelled: str = "", **facts: Any) -> str:
    """Return a line of `virtmesh trace --json`."""
    content = {"side": "device", "kind": kind, "queue": 0, "token": 0, "spelled": spelled or kind}
    return json.dumps(content | facts)


def read_of(token: int) -> list[str]:
    """Return the lines of a read."""
    return [
        event("notify"),
        event("pop", token=token),
        event("request_start", "request IN sector 2, 4096 bytes", token=token),
        event("pop", token=token + 1),
        event("request_end", "request IN -> OK", token=token),
        event("push", token=token),
        event("interrupt"),
        event("register_read", "InterruptStatus = 1", register="InterruptStatus"),
        event("register_write", "InterruptACK = 1", register="InterruptACK"),
    ]


def test_the_first_read_is_shown_from_the_notification_to_the_acknowledgement() -> None:
    """What is of another request, of the driver's side, or of the set-up is left out."""
    trace = [
        event("register_write", "Status = DRIVER_OK", register="Status"),
        event("request_start", "request OUT sector 0", token=9),
        event("notify", side="driver"),
        *read_of(4),
        *read_of(6),
    ]

    lines = first_read(trace)

    assert [line.kind for line in lines] == [
        *("notify", "pop", "request_start", "request_end", "push", "interrupt"),
        *("register_read", "register_write"),
    ]
    assert lines[2].what == "request IN sector 2, 4096 bytes"
    assert lines[-1].what == "-> InterruptACK = 1"
    assert all(line.meaning for line in lines)


def test_a_trace_without_a_read_has_no_dialogue() -> None:
    """Such as that of a disk that was only written to."""
    assert first_read([event("request_start", "request OUT sector 0"), event("push")]) == []
