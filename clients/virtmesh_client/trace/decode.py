"""Events in words, the way strace shows system calls.

A line says who acts: `drv ->` and `drv <-` are the driver's writes and reads of registers, `drv`
and `dev` what either side does with queues and interrupts. Texts come from services and drivers:
what is not printable in them is spelled out.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_client.trace.events import ALWAYS, GROUPS, LOST, Event
from virtmesh_client.trace.register_names import interrupt_names, names_for
from virtmesh_common.api.trace.v1 import trace_pb2 as pb
from virtmesh_common.blk.spec import RequestStatus, RequestType
from virtmesh_common.virtio.status import status_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.trace.register_names import RegisterNames

SECTOR = 512
FLIGHTS_MAX = 65_536
"""Most chains whose beginning is remembered."""
GUARD = 0x40
"""Set in the detail of a register access for a guard (virtmesh.register.v1)."""
WAYS: dict[int, str] = {
    pb.NOTIFY_WAY_EVENTFD: " by eventfd",
    pb.NOTIFY_WAY_MMIO: " by QueueNotify",
    pb.NOTIFY_WAY_RPC: " by call",
}
REQUEST_TYPES = {one.value: one.name.removeprefix("VIRTIO_BLK_T_") for one in RequestType}
REQUEST_STATUSES = {one.value: one.name.removeprefix("VIRTIO_BLK_S_") for one in RequestStatus}
SECTORLESS = frozenset({RequestType.VIRTIO_BLK_T_FLUSH, RequestType.VIRTIO_BLK_T_GET_ID})


@dataclass(frozen=True)
class Spelled:
    """An event in words."""

    actor: str
    """"drv", "dev", "drv ->" or "drv <-"."""
    text: str
    since_add_ns: int | None = None
    """Time since the chain was added, of events of a chain whose beginning was seen."""
    register: str = ""
    meaning: str = ""
    """A register's name and its value in words."""


class Decoder:
    """Spells the events of a machine. Hand in all of them, in order, shown or not."""

    def __init__(self) -> None:
        self._names: dict[str, RegisterNames] = {}
        self._flights: OrderedDict[tuple[str, int, int], tuple[int, str]] = OrderedDict()

    def spell(self, event: Event) -> Spelled:
        """Return an event in words."""
        if event.kind in GROUPS["register"]:
            return self._register(event)
        actor = "drv" if event.source.side == "driver" else "dev"
        self._learn(event)
        return Spelled(actor, spell_event(event), self._since_add(event))

    def _register(self, event: Event) -> Spelled:
        """Spell a register access."""
        write = event.kind.startswith("write") or event.kind.endswith("write")
        refused = event.kind.endswith("refused")
        value = event.value if write or not refused else None
        names = self._names_of(event)
        if refused:
            # It changed nothing: look, but do not learn.
            name, _ = names.spell(event.token, event.detail & ~GUARD, None, write=write)
            meaning = "" if value is None else f"{value:#x}"
        else:
            name, meaning = names.spell(event.token, event.detail & ~GUARD, value, write=write)
        text = f"{name} = {meaning}" if meaning else name
        if event.detail & GUARD and not refused:
            text += spell_guard(event)
        if refused:
            text += f" refused: {printable(event.text) or spell_reason(event.extra)}"
        return Spelled("drv ->" if write else "drv <-", text, None, name, meaning)

    def _names_of(self, event: Event) -> RegisterNames:
        """Return what names the registers of a device."""
        device = event.source.device
        if device not in self._names:
            self._names[device] = names_for(event.source)
        return self._names[device]

    def _learn(self, event: Event) -> None:
        """Keep what later events refer to."""
        device = event.source.device
        if event.source.side == "device":
            if event.kind in {"reset", "attach"}:
                self._names_of(event).reset()
            elif event.kind == LOST:
                self._names_of(event).forget()
            elif event.kind in ALWAYS:
                self._names.pop(device, None)
        elif event.kind == "add":
            key = (device, event.queue, event.token)
            self._flights[key] = (event.time_ns, event.source.boot_id)
            self._flights.move_to_end(key)
            if len(self._flights) > FLIGHTS_MAX:
                self._flights.popitem(last=False)
        elif event.kind in {"attach", *ALWAYS}:
            # What was in flight ended unseen, or belongs to a driver that is gone.
            for key in [key for key in self._flights if key[0] == device]:
                del self._flights[key]

    def _since_add(self, event: Event) -> int | None:
        """Return how old a chain is; one that came back is forgotten."""
        if event.kind not in GROUPS["queue"] + GROUPS["request"] or event.kind == "add":
            return None
        key = (event.source.device, event.queue, event.token)
        added, boot_id = self._flights.get(key, (0, ""))
        if event.kind == "pop_used":
            self._flights.pop(key, None)
        if not added or boot_id != event.source.boot_id or event.time_ns < added:
            return None
        return event.time_ns - added


def spell_event(event: Event) -> str:
    """Spell an event that is no register access."""
    spell = SPELLERS.get(event.kind)
    if spell is None:
        return f"{event.kind} {event.detail} {event.queue} {event.token} {event.value:#x}"
    return spell(event)


def printable(text: str) -> str:
    """Spell out what a terminal would act on."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def plural(count: int, what: str) -> str:
    """Count things."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def chain(event: Event) -> str:
    """Name a chain."""
    return f"q{event.queue} {event.kind} #{event.token}"


def spell_guard(event: Event) -> str:
    """Say what a guard expected, and whether it was met."""
    mask, expected = event.extra >> 32, event.extra & 0xFFFF_FFFF
    met = event.value & mask == expected
    return f" (guard {mask:#x}: {expected:#x}{'' if met else ', not met'})"


def spell_reason(number: int) -> str:
    """Name a reason of a refusal."""
    known = pb.RefusalReason.DESCRIPTOR.values_by_number.get(number)
    name = "UNSPECIFIED" if known is None else str(known.name).removeprefix("REFUSAL_REASON_")
    return name.lower().replace("_", " ")


def _chain_taken(event: Event) -> str:
    descriptors, size = plural(event.value, "descriptor"), plural(event.extra, "byte")
    return f"{chain(event)} ({descriptors}, {size})"


def _chain_given(event: Event) -> str:
    return f"{chain(event)} ({plural(event.value, 'byte')} written)"


def _request_start(event: Event) -> str:
    kind = REQUEST_TYPES.get(event.detail, f"type {event.detail}")
    where = "" if event.detail in SECTORLESS else f" sector {event.value}"
    size = f", {plural(event.extra, 'byte')}" if event.extra else ""
    return f"q{event.queue} request #{event.token} {kind}{where}{size}"


def _request_end(event: Event) -> str:
    kind = REQUEST_TYPES.get(event.detail, f"type {event.detail}")
    status = REQUEST_STATUSES.get(event.value, f"status {event.value}")
    return f"q{event.queue} request #{event.token} {kind} -> {status}"


def _status(event: Event) -> str:
    changed = [f"+{name}" for name in status_names(event.value & ~event.extra)]
    changed += [f"-{name}" for name in status_names(event.extra & ~event.value)]
    return f"status {' '.join(changed) or 'unchanged'}"


def _interrupt(event: Event) -> str:
    queue = f"q{event.queue} " if event.detail & 1 else ""
    return f"{queue}interrupt ({interrupt_names(event.detail)})"


def _level(event: Event) -> str:
    return f"interrupt line {'rose' if event.detail else 'fell'} (sources {event.value:#x})"


def _with_text(word: str) -> Callable[[Event], str]:
    return lambda event: f"{word}: {printable(event.text)}" if event.text else word


SPELLERS: dict[str, Callable[[Event], str]] = {
    "notify": lambda event: f"q{event.queue} notify{WAYS.get(event.detail, '')}",
    "notify_suppressed": lambda event: f"q{event.queue} notify suppressed",
    "add": _chain_taken,
    "pop": _chain_taken,
    "request_start": _request_start,
    "request_end": _request_end,
    "push": _chain_given,
    "pop_used": _chain_given,
    "interrupt": _interrupt,
    "interrupt_suppressed": lambda event: f"q{event.queue} interrupt suppressed",
    "level": _level,
    "acknowledge": lambda event: f"acknowledge ({interrupt_names(event.value)})",
    "irq": lambda event: f"irq ({interrupt_names(event.value)})",
    "status": _status,
    "reset": lambda _: "reset complete",
    "attach": _with_text("attach"),
    "detach": _with_text("detach"),
    "fault": _with_text("FAULT"),
    LOST: lambda event: f"-- {plural(event.value, 'event')} lost --",
    "gone": _with_text("-- recorder gone"),
    "back": _with_text("-- recorder back --"),
}
