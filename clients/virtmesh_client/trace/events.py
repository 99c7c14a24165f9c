"""Events of flight recorders, as plain values (virtmesh.trace.v1 says what their numbers mean)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from virtmesh_common.api.trace.v1 import trace_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_common.interface import Interface

SIDES = {pb.SIDE_DEVICE: "device", pb.SIDE_DRIVER: "driver"}

LOST = "lost"
"""Kind of an event that stands for events that were overwritten before they were read: `value` is
how many."""
GONE = "gone"
"""Kind of an event that says that a recorder can't be read any more; the text says why."""
BACK = "back"
"""Kind of an event that says that it can be read again; its events are numbered from 0."""

ACCESSES = ("register_read", "register_write", "read_refused", "write_refused")
"""Kinds that are accesses of registers."""
CPU_ACCESS = "cpu_access"
"""Kind of an event that says where in its guest's code a CPU makes an access: `extra` is the PC."""
RESERVED_BITS = "reserved_bits"
"""Kind of an event that says that a write before it set reserved bits."""
GROUPS = {
    "register": (*ACCESSES, RESERVED_BITS, CPU_ACCESS),
    "queue": ("add", "pop", "push", "pop_used"),
    "request": ("request_start", "request_end", "request_held"),
    "notify": ("notify", "notify_suppressed"),
    "interrupt": ("interrupt", "interrupt_suppressed", "level", "acknowledge", "irq"),
    "state": ("status", "reset", "attach", "detach", "fault", "quirk", "violation", "injected"),
}
"""Kinds that one word stands for."""
ALWAYS = frozenset({LOST, GONE, BACK})
"""Kinds that no choice of kinds hides: without them what is shown would not be the truth."""
KINDS = tuple(kind for group in GROUPS.values() for kind in group)


@dataclass(frozen=True)
class Source:
    """Where events are from: one side of one device, in one run of its service."""

    device: str
    side: str
    """"driver" or "device"."""
    kind: str = ""
    compatible: str = ""
    virtio_device_id: int = 0
    realtime_offset_ns: int = 0
    """What to add to times to get the time since 1970-01-01 00:00 UTC."""
    boot_id: str = ""
    run_id: str = ""
    reg_shift: int = 0
    """Registers of a serial port are `1 << reg_shift` bytes apart."""
    interface: Interface | None = field(default=None, compare=False, repr=False)
    """How the device describes itself; None where it does not, or was not asked."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a recorder. Numbers that its kind has no use for are 0."""

    source: Source
    sequence: int
    time_ns: int
    """CLOCK_MONOTONIC of the source's host."""
    kind: str
    """As EventKind, in lower case: "register_read"."""
    detail: int = 0
    queue: int = 0
    token: int = 0
    value: int = 0
    extra: int = 0
    text: str = ""


@cache
def kind_name(number: int) -> str:
    """Name a kind; one that this client does not know keeps its number."""
    known = pb.EventKind.DESCRIPTOR.values_by_number.get(number)
    if known is None:
        return f"kind_{number}"
    return str(known.name).removeprefix("EVENT_KIND_").lower()


def read_source(message: pb.Source, interface: Interface | None = None) -> Source:
    """Return what a service says about itself; `interface` is that of the device."""
    return Source(
        device=message.device,
        side=SIDES.get(message.side, "unknown"),
        kind=message.kind,
        compatible=message.compatible,
        virtio_device_id=message.virtio_device_id,
        realtime_offset_ns=message.realtime_offset_ns,
        boot_id=message.boot_id,
        run_id=message.run_id,
        reg_shift=message.reg_shift,
        interface=interface,
    )


def read_page(source: Source, page: pb.Page) -> Iterator[Event]:
    """Take a page apart: what was lost before it, then its events.

    Errors: ValueError for columns of different lengths.
    """
    notes = {note.sequence: note.text for note in page.notes}
    symbols = {symbol.pc: symbol.name for symbol in page.symbols}
    if page.lost and page.times_ns:
        first = page.first_sequence
        yield Event(source, first, page.times_ns[0], LOST, value=page.lost)
    rows = zip(
        page.times_ns,
        page.kinds,
        page.details,
        page.queues,
        page.tokens,
        page.values,
        page.extras,
        strict=True,
    )
    for sequence, row in enumerate(rows, page.first_sequence):
        time_ns, kind, detail, queue, token, value, extra = row
        name = kind_name(kind)
        text = symbols.get(extra, "") if name == CPU_ACCESS else notes.get(sequence, "")
        yield Event(source, sequence, time_ns, name, detail, queue, token, value, extra, text)
