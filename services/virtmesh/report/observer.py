"""The observer of one device: keeps its dialogue, judges its driver, and counts what it broke.

Only registers of the set-up are watched, by wrapping what reads and writes them; refused accesses
are judged where they are refused. Everything runs on the event loop's thread.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from virtmesh.report.event import Access, ReservedWrite, RingFlags
from virtmesh_common.errors import DriverViolation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from virtmesh_native import Interrupt

    from virtmesh.report.dialogue import Dialogue
    from virtmesh.report.event import Event
    from virtmesh.report.rule import Rule
    from virtmesh_common.errors import RegisterError
    from virtmesh_common.registers import Register

CLAUSE = re.compile(r"\((\d+(?:\.\d+)+)(?:,[^)]*)?\)")
"""How a message names the clause that it is about."""
REFUSED = "refused-"
"""Begins the name of the rule behind a refusal that no rule covers; its clause ends it."""
WRITE, WIDTH_MAX = 0x40, 0x3F
"""Bit and largest width in `detail` of EVENT_KIND_VIOLATION (trace.proto)."""
U32, U64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF
QUEUE_MAX = 127


def _nothing() -> None:
    """Do nothing."""


class Observer:
    """Judges the driver of one device by `rules`. Violations are counted in `interrupt`."""

    def __init__(self, interrupt: Interrupt, rules: Iterable[Rule], dialogue: Dialogue) -> None:
        self.dialogue = dialogue
        self.refresh: Callable[[], object] = _nothing
        """Judges what has no event of its own, such as the flags of rings, as it is now."""
        self._interrupt = interrupt
        self._rules: dict[type, list[Rule]] = {}
        for rule in rules:
            if rule.broken is not None:
                self._rules.setdefault(rule.on, []).append(rule)

    def begin(self) -> None:
        """Begin with another driver."""
        self._interrupt.clear_violations()
        self.dialogue.begin()

    def clear(self) -> None:
        """Forget the violations; registers were replayed (DeviceService.ClearReport)."""
        self._interrupt.clear_violations()
        self.dialogue.grant()

    def tell(self, event: Event) -> bool:
        """Judge an event, then remember it. Returns True if it breaks a rule."""
        dialogue, found = self.dialogue, False
        for rule in self._rules.get(type(event), ()):
            if rule.broken is not None and rule.broken(event, dialogue):
                found = True
                self._violated(rule.name, event)
        if isinstance(event, Access) and event.error is None:
            dialogue.remember(event)
        return found

    def refused(  # noqa: PLR0913, PLR0917 - an access, as it is
        self,
        register: Register | None,
        offset: int,
        width: int,
        is_write: bool,  # noqa: FBT001
        value: int,
        error: RegisterError,
    ) -> None:
        """Judge an access that was refused.

        A violation that no rule of the table covers is counted under the clause of its message.
        """
        event = Access(register, offset, width, is_write, value, error)
        if self.tell(event) or not isinstance(error, DriverViolation):
            return
        clauses = CLAUSE.findall(error.message)
        if clauses:
            self._violated(REFUSED + clauses[-1], event)

    def watched_reader(
        self, register: Register, reader: Callable[[], int] | None
    ) -> Callable[[], int]:
        """Return a reader of a register that tells of each read. None reads its reset value."""
        width = max(register.widths)

        def read() -> int:
            value = register.reset if reader is None else reader()
            self.tell(Access(register, register.offset, width, is_write=False, value=value))
            return value

        return read

    def watched_writer(
        self, register: Register, writer: Callable[[int], None]
    ) -> Callable[[int], None]:
        """Return a writer of a register that tells of each write that was executed."""

        def write(value: int) -> None:
            writer(value)
            self.tell(Access(register, register.offset, register.size, is_write=True, value=value))

        return write

    def watch(
        self,
        registers: Iterable[Register],
        readers: Mapping[Register, Callable[[], int]],
        writers: Mapping[Register, Callable[[int], None]],
    ) -> tuple[dict[Register, Callable[[], int]], dict[Register, Callable[[int], None]]]:
        """Return readers and writers, those of `registers` watched."""
        watched_readers, watched_writers = dict(readers), dict(writers)
        for register in registers:
            if "R" in register.access.value:
                reader = readers.get(register)
                watched_readers[register] = self.watched_reader(register, reader)
            if register in writers:
                watched_writers[register] = self.watched_writer(register, writers[register])
        return watched_readers, watched_writers

    def _violated(self, rule: str, event: Event) -> None:
        """Count a violation."""
        if isinstance(event, Access | ReservedWrite):
            is_write = not isinstance(event, Access) or event.is_write
            self._interrupt.violated(
                rule,
                event.text,
                detail=min(max(event.width, 0), WIDTH_MAX) | (WRITE if is_write else 0),
                token=event.offset & U32,
                value=event.value & U64 if is_write else 0,
                accessed=True,
            )
        elif isinstance(event, RingFlags):
            # It was broken in memory, before the access at which it is seen.
            self._interrupt.violated(rule, event.text, queue=min(event.queue, QUEUE_MAX))
        else:
            self._interrupt.violated(rule, event.text, accessed=True)
