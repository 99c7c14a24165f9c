"""What is held on one device: which injectors hold which keys and touches.

Several injectors press the keys of one device. The driver sees a key pressed by the first that
holds it and released by the last; what the others do with it in between is left out of their
packets. A touch belongs to the injector that began it last; its end by any other one is left out.
When an injector leaves, what it holds is released, the newest first, each in a packet of its own.

Touches follow multi-touch protocol B: ABS_MT_SLOT chooses the touch that the events after it
describe. Each injector has a slot of its own here, and ABS_MT_SLOT is added where the packet of
another one came in between. https://docs.kernel.org/input/multi-touch-protocol.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.evdev import CODES, TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Event = tuple[int, int, int]
"""Type, code, value."""
KeyOrTouch = tuple[int, int]
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
"""The slot that events describe when none was chosen."""


class InjectorState:
    """One injector: what it holds, oldest first, and its slot."""

    def __init__(self) -> None:
        self.held: dict[KeyOrTouch, None] = {}
        self.slot = FIRST_SLOT


class HeldKeys:
    """What is held on one device. `has_slots` is true for devices that speak protocol B."""

    def __init__(self, *, has_slots: bool) -> None:
        self.has_slots = has_slots
        self._holders: dict[KeyOrTouch, dict[InjectorState, None]] = {}
        self._slot: int | None = FIRST_SLOT
        """The slot that the driver was told last; None if that is not known."""

    @property
    def keys(self) -> list[int]:
        """Codes of the keys that are held, ascending."""
        return sorted(number for kind, number in self._holders if kind == EV_KEY)

    def forget_slot(self) -> None:
        """Take the driver's slot for unknown: the next packet with touches chooses it again."""
        self._slot = None

    def apply(self, injector: InjectorState, events: Iterable[Event]) -> list[Event]:
        """Note what an injector does; return the events that the driver is to see."""
        seen: list[Event] = []
        for event in events:
            kind, code, value = event
            if kind == EV_KEY:
                if self._key(injector, (EV_KEY, code), value):
                    seen.append(event)
            elif kind == EV_ABS and self.has_slots and (code == ABS_MT_SLOT or code in ABS_MT):
                seen += self._touch(injector, event)
            else:
                seen.append(event)
        return seen

    def release(self, injector: InjectorState) -> list[list[Event]]:
        """Release everything that an injector holds; return a packet for each release to send."""
        return [
            self._end_of(one)
            for one in reversed(list(injector.held))
            if self._release(injector, one)
        ]

    def release_all(self) -> list[list[Event]]:
        """Release everything; return a packet for each, the newest first."""
        packets = []
        for one in reversed(list(self._holders)):
            for injector in self._holders.pop(one):
                del injector.held[one]
            packets.append(self._end_of(one))
        return packets

    def _key(self, injector: InjectorState, key: KeyOrTouch, value: int) -> bool:
        """Note what an injector does with a key; False when the driver is not to see it."""
        others = self._holders.get(key, {})
        if value == PRESSED and key not in injector.held:
            self._hold(injector, key)
            return len(self._holders[key]) == 1
        if value == RELEASED and key in injector.held:
            return self._release(injector, key)
        # Pressed again, repeated, or released without being pressed: the driver sees it as it is.
        # But a key that another injector holds is not released.
        return value != RELEASED or not others

    def _touch(self, injector: InjectorState, event: Event) -> Sequence[Event]:
        """Note an event of a touch; return the events that the driver is to see."""
        _, code, value = event
        if code == ABS_MT_SLOT:
            injector.slot = self._slot = value
            return [event]
        touch = (EV_ABS, injector.slot)
        if code == ABS_MT_TRACKING_ID and value != NO_TOUCH:
            for other in self._holders.pop(touch, {}):
                del other.held[touch]
            self._hold(injector, touch)
        elif code == ABS_MT_TRACKING_ID and touch in self._holders and touch not in injector.held:
            return []
        elif code == ABS_MT_TRACKING_ID and touch in injector.held:
            self._release(injector, touch)
        return [*self._choose(injector.slot), event]

    def _hold(self, injector: InjectorState, one: KeyOrTouch) -> None:
        """Note that an injector holds something."""
        injector.held[one] = None
        self._holders.setdefault(one, {})[injector] = None

    def _release(self, injector: InjectorState, one: KeyOrTouch) -> bool:
        """Note that an injector holds something no more; True when nobody else does."""
        del injector.held[one]
        holders = self._holders[one]
        del holders[injector]
        if not holders:
            del self._holders[one]
        return not holders

    def _end_of(self, one: KeyOrTouch) -> list[Event]:
        """Make the events of a release."""
        kind, number = one
        if kind == EV_KEY:
            return [(EV_KEY, number, RELEASED)]
        return [*self._choose(number), (EV_ABS, ABS_MT_TRACKING_ID, NO_TOUCH)]

    def _choose(self, slot: int) -> Sequence[Event]:
        """Make the event that chooses a slot, unless it is chosen."""
        if self._slot == slot:
            return []
        self._slot = slot
        return [(EV_ABS, ABS_MT_SLOT, slot)]
