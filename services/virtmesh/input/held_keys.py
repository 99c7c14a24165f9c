"""The ledger of what is held: which stream holds which keys and touches.

Several streams press the keys of one device. The driver sees a key pressed by the first that holds
it and released by the last; what the others do with it in between is left out of their packets. A
touch belongs to the stream that began it last; its end by any other one is left out. When a stream
ends, what it holds is released, the newest first, each in a packet of its own.

Touches follow multi-touch protocol B, in which ABS_MT_SLOT says once whom the events after it are
about. Each stream has a slot of its own here, and ABS_MT_SLOT is added where the packet of another
stream came in between. https://docs.kernel.org/input/multi-touch-protocol.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.evdev import CODES, TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Event = tuple[int, int, int]
"""Type, code, value."""
Hold = tuple[int, int]
"""A key: (EV_KEY, its code). A touch: (EV_ABS, its slot)."""

EV_KEY, EV_ABS = TYPES["EV_KEY"], TYPES["EV_ABS"]
ABS_MT_SLOT = CODES["EV_ABS"]["ABS_MT_SLOT"]
ABS_MT_TRACKING_ID = CODES["EV_ABS"]["ABS_MT_TRACKING_ID"]
ABS_MT = range(CODES["EV_ABS"]["ABS_MT_TOUCH_MAJOR"], CODES["EV_ABS"]["ABS_MT_TOOL_Y"] + 1)
"""The axes that belong to a slot."""
RELEASED, PRESSED = 0, 1
"""Values of EV_KEY; 2, which repeats a key, changes nothing here."""
NO_TOUCH = -1
"""The ABS_MT_TRACKING_ID that ends a touch."""
FIRST_SLOT = 0
"""The slot that events are about when none was chosen."""


class Holder:
    """A stream, as the ledger sees it: what it holds, oldest first, and its slot."""

    def __init__(self) -> None:
        self.held: dict[Hold, None] = {}
        self.slot = FIRST_SLOT


class Ledger:
    """What is held on one device. `has_slots` is true for devices that speak protocol B."""

    def __init__(self, *, has_slots: bool) -> None:
        self._has_slots = has_slots
        self._holders: dict[Hold, dict[Holder, None]] = {}
        self._slot: int | None = FIRST_SLOT

    @property
    def keys(self) -> list[int]:
        """Codes of the keys that are held, ascending."""
        return sorted(number for kind, number in self._holders if kind == EV_KEY)

    def forget_slot(self) -> None:
        """Take the driver's slot for unknown: the next packet with touches says it again."""
        self._slot = None

    def apply(self, holder: Holder, events: Iterable[Event]) -> list[Event]:
        """Note what a stream does; return what the driver is to see of it."""
        seen: list[Event] = []
        for event in events:
            kind, code, value = event
            if kind == EV_KEY:
                if self._key(holder, (EV_KEY, code), value):
                    seen.append(event)
            elif kind == EV_ABS and self._has_slots and (code == ABS_MT_SLOT or code in ABS_MT):
                seen += self._touch(holder, event)
            else:
                seen.append(event)
        return seen

    def release(self, holder: Holder) -> list[list[Event]]:
        """Let go of everything that a stream holds; return a packet for each release to send."""
        return [
            self._end_of(hold) for hold in reversed(list(holder.held)) if self._let_go(holder, hold)
        ]

    def release_all(self) -> list[list[Event]]:
        """Let go of everything; return a packet for each, the newest first."""
        packets = []
        for hold in reversed(list(self._holders)):
            for holder in self._holders.pop(hold):
                del holder.held[hold]
            packets.append(self._end_of(hold))
        return packets

    def _key(self, holder: Holder, hold: Hold, value: int) -> bool:
        """Note what a stream does with a key; False when the driver is not to see it."""
        others = self._holders.get(hold, {})
        if value == PRESSED and hold not in holder.held:
            self._take(holder, hold)
            return len(self._holders[hold]) == 1
        if value == RELEASED and hold in holder.held:
            return self._let_go(holder, hold)
        # Pressed again, released without being pressed, repeated: the driver's matter, but a key
        # that is another's stays as it is.
        return value != RELEASED or not others

    def _touch(self, holder: Holder, event: Event) -> Sequence[Event]:
        """Note an event of a touch; return what the driver is to see of it."""
        _, code, value = event
        if code == ABS_MT_SLOT:
            holder.slot = self._slot = value
            return [event]
        hold = (EV_ABS, holder.slot)
        if code == ABS_MT_TRACKING_ID and value != NO_TOUCH:
            for other in self._holders.pop(hold, {}):
                del other.held[hold]
            self._take(holder, hold)
        elif code == ABS_MT_TRACKING_ID and hold in self._holders and hold not in holder.held:
            return []
        elif code == ABS_MT_TRACKING_ID and hold in holder.held:
            self._let_go(holder, hold)
        return [*self._choose(holder.slot), event]

    def _take(self, holder: Holder, hold: Hold) -> None:
        """Note that a stream holds something."""
        holder.held[hold] = None
        self._holders.setdefault(hold, {})[holder] = None

    def _let_go(self, holder: Holder, hold: Hold) -> bool:
        """Note that a stream holds something no more; True when nobody else does."""
        del holder.held[hold]
        holders = self._holders[hold]
        del holders[holder]
        if not holders:
            del self._holders[hold]
        return not holders

    def _end_of(self, hold: Hold) -> list[Event]:
        """Make the events of a release."""
        kind, number = hold
        if kind == EV_KEY:
            return [(EV_KEY, number, RELEASED)]
        return [*self._choose(number), (EV_ABS, ABS_MT_TRACKING_ID, NO_TOUCH)]

    def _choose(self, slot: int) -> Sequence[Event]:
        """Make the event that chooses a slot, unless it is chosen."""
        if self._slot == slot:
            return []
        self._slot = slot
        return [(EV_ABS, ABS_MT_SLOT, slot)]
