"""Events in words, the way strace shows system calls.

A line says who acts: `drv ->` and `drv <-` are the driver's writes and reads of registers, `drv`
and `dev` what either side does with queues and interrupts. Texts come from services and drivers:
what is not printable in them is spelled out.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from errno import errorcode
from typing import TYPE_CHECKING

from virtmesh_client.trace.events import (
    ACCESSES,
    ALWAYS,
    CPU_ACCESS,
    GROUPS,
    LOST,
    RESERVED_BITS,
    Event,
)
from virtmesh_client.trace.kind_faces import find_kind_face, interface_of
from virtmesh_client.trace.register_names import (
    MAY_DIFFER,
    VirtioNames,
    WindowNames,
    interrupt_names,
)
from virtmesh_common.api.trace.v1 import trace_pb2 as pb
from virtmesh_common.fault.words import KIND_WORDS
from virtmesh_common.interface import RequestType
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.status import status_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from virtmesh_client.trace.events import Source
    from virtmesh_client.trace.register_names import RegisterNames

FLIGHTS_MAX = 65_536
"""Most chains whose beginning is remembered."""
CPU_WRITE = 0x40
"""Set in the detail of an access of a CPU for a write."""
GUARD = 0x40
"""Set in the detail of a register access for a guard (virtmesh.register.v1)."""
WAYS: dict[int, str] = {
    pb.NOTIFY_WAY_EVENTFD: " by eventfd",
    pb.NOTIFY_WAY_MMIO: " by QueueNotify",
    pb.NOTIFY_WAY_RPC: " by call",
}


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


class Naming:
    """What a device's registers and requests are called, as it says or as its kind is known."""

    def __init__(self, source: Source) -> None:
        interface = interface_of(source)
        self.registers = register_names(source)
        self._types = {one.number: one for one in interface.request_types}
        self._statuses = dict(interface.request_statuses)

    def request_type(self, number: int) -> RequestType:
        """Return a type of requests; the values of one that has no name are no sectors."""
        return self._types.get(number) or RequestType(number, f"type {number}")

    def request_status(self, number: int) -> str:
        """Name an outcome."""
        return self._statuses.get(number, f"status {number}")


def register_names(source: Source) -> RegisterNames:
    """Return what names the registers of a device."""
    interface, face = interface_of(source), find_kind_face(source.kind)
    if face.names:
        return face.names(interface)
    if source.compatible == mmio.COMPATIBLE or source.virtio_device_id:
        return VirtioNames(interface)
    return WindowNames(interface.registers)


def may_differ(source: Source) -> Mapping[str, str]:
    """Return the registers that a replay need not find as they were, and why."""
    return {**MAY_DIFFER, **find_kind_face(source.kind).may_differ}


class Decoder:
    """Spells the events of a machine. Hand in all of them, in order, shown or not."""

    def __init__(self) -> None:
        self._naming: dict[str, Naming] = {}
        self._flights: OrderedDict[tuple[str, int, int], tuple[int, str]] = OrderedDict()

    def spell(self, event: Event) -> Spelled:
        """Return an event in words."""
        if event.kind in ACCESSES:
            return self._access(event)
        if event.kind == RESERVED_BITS:
            return self._reserved_bits(event)
        if event.kind == CPU_ACCESS:
            return self._cpu_access(event)
        actor = "drv" if event.source.side == "driver" else "dev"
        self._learn(event)
        if event.kind in GROUPS["request"]:
            text = spell_request(event, self._naming_of(event))
        else:
            text = spell_event(event)
        return Spelled(actor, text, self._since_add(event))

    def _access(self, event: Event) -> Spelled:
        """Spell a register access."""
        write = event.kind.startswith("write") or event.kind.endswith("write")
        refused = event.kind.endswith("refused")
        value = event.value if write or not refused else None
        names = self._naming_of(event).registers
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

    def _cpu_access(self, event: Event) -> Spelled:
        """Spell where in its code a guest makes an access; the device's event has the meaning."""
        write = bool(event.detail & CPU_WRITE)
        names = self._naming_of(event).registers
        name, _ = names.spell(event.token, event.detail & ~CPU_WRITE, None, write=write)
        text = f"{'writes' if write else 'reads'} {name} = {event.value:#x}"
        return Spelled("cpu", f"{spell_pc(event)} {text}", None, name)

    def _reserved_bits(self, event: Event) -> Spelled:
        """Spell what a write set that has no effect."""
        names = self._naming_of(event).registers
        name, _ = names.spell(event.token, event.detail, None, write=True)
        return Spelled("dev", f"{name}: reserved bits {event.extra:#x} ignored", None, name)

    def _naming_of(self, event: Event) -> Naming:
        """Return what names the registers and requests of a device."""
        device = event.source.device
        if device not in self._naming:
            self._naming[device] = Naming(event.source)
        return self._naming[device]

    def _learn(self, event: Event) -> None:
        """Keep what later events refer to."""
        device = event.source.device
        if event.source.side == "device":
            if event.kind in {"reset", "attach"}:
                self._naming_of(event).registers.reset()
            elif event.kind == LOST:
                self._naming_of(event).registers.forget()
            elif event.kind in ALWAYS:
                self._naming.pop(device, None)
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


def spell_pc(event: Event) -> str:
    """Spell a program counter, and what the code there is called."""
    return f"{event.extra:#x} {printable(event.text)}".rstrip()


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


def spell_request(event: Event, naming: Naming) -> str:
    """Spell the beginning or the end of a request."""
    kind = naming.request_type(event.detail)
    request = f"q{event.queue} request #{event.token} {kind.name}"
    if event.kind == "request_end":
        return f"{request} -> {naming.request_status(event.value)}"
    if event.kind == "request_held":
        cause = errorcode.get(event.value)
        return f"{request} HELD{f': {cause}' if cause else ''}"
    where = f" sector {event.value}" if kind.has_sector else ""
    size = f", {plural(event.extra, 'byte')}" if event.extra else ""
    return f"{request}{where}{size}"


def _status(event: Event) -> str:
    changed = [f"+{name}" for name in status_names(event.value & ~event.extra)]
    changed += [f"-{name}" for name in status_names(event.extra & ~event.value)]
    return f"status {' '.join(changed) or 'unchanged'}"


def _interrupt(event: Event) -> str:
    queue = f"q{event.queue} " if event.detail & 1 else ""
    return f"{queue}interrupt ({interrupt_names(event.detail)})"


def _level(event: Event) -> str:
    return f"interrupt line {'rose' if event.detail else 'fell'} (sources {event.value:#x})"


def _injected(event: Event) -> str:
    word = KIND_WORDS.get(event.detail, f"kind {event.detail}")
    text = f": {printable(event.text)}" if event.text else ""
    return f"q{event.queue} INJECTED {word} (fault {event.value}, its event {event.extra}){text}"


def _with_text(word: str) -> Callable[[Event], str]:
    return lambda event: f"{word}: {printable(event.text)}" if event.text else word


SPELLERS: dict[str, Callable[[Event], str]] = {
    "notify": lambda event: f"q{event.queue} notify{WAYS.get(event.detail, '')}",
    "notify_suppressed": lambda event: f"q{event.queue} notify suppressed",
    "add": _chain_taken,
    "pop": _chain_taken,
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
    "quirk": _with_text("QUIRK"),
    "violation": _with_text("VIOLATION"),
    "injected": _injected,
    LOST: lambda event: f"-- {plural(event.value, 'event')} lost --",
    "gone": _with_text("-- recorder gone"),
    "back": _with_text("-- recorder back --"),
}
