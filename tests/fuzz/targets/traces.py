"""Saved traces."""

from __future__ import annotations

import io
from contextlib import suppress

from tests.fuzz.target import stateless
from virtmesh_client.trace.decode import spell_event
from virtmesh_client.trace.events import Event, Source
from virtmesh_client.trace.store import TraceWriter, read_trace
from virtmesh_common.errors import BadTrace


def run(data: bytes) -> None:
    """Read a trace; what is read can be shown, written, and read again the same."""
    events: list[Event] = []
    with suppress(BadTrace):
        events.extend(read_trace(io.StringIO(data.decode(errors="replace"))))
    for event in events:
        spell_event(event)
    if events:
        assert list(read_trace(io.StringIO(write(events).decode()))) == events


def write(events: list[Event]) -> bytes:
    """Write a trace."""
    written: list[str] = []
    writer = TraceWriter(written.append)
    for event in events:
        writer.add(event)
    return "".join(written).encode()


def seeds() -> list[bytes]:
    """Return a trace of a disk."""
    source = Source("vda", "device", "blk", "virtio,mmio", 2)
    kinds = ("register_write", "register_read", "queue_kick", "request_start", "interrupt")
    events = [
        Event(source=source, kind=kind, sequence=number, time_ns=number, value=number)
        for number, kind in enumerate(kinds)
    ]
    return [write(events)]


TARGET = stateless(run, seeds)
