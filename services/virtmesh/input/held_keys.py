"""What is held on one device: which injectors hold which keys and touches.

Several injectors press the keys of one device. The driver sees a key pressed by the first that
holds it and released by the last; what the others do with it in between is left out of their
packets. A touch belongs to the injector that began it last; its end by any other one is left out.
When an injector leaves, what it holds is released in one packet, as a device would do it
(virtmesh_common.input.release): touches end, pressure goes back, keys go up, the newest first.

BTN_TOUCH says that something touches the device, whoever does. So while touches of other injectors
stay, it is not released: they hold it from then on.

Touches follow multi-touch protocol B: ABS_MT_SLOT chooses the touch that the events after it
describe. Each injector has a slot of its own here, and ABS_MT_SLOT is added where the packet of
another one came in between. https://docs.kernel.org/input/multi-touch-protocol.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.input.release import (
    ABS_MT,
    ABS_MT_SLOT,
    ABS_MT_TRACKING_ID,
    BTN_TOUCH,
    CONTACT_KEYS,
    EV_ABS,
    EV_KEY,
    EV_SYN,
    NO_TOUCH,
    RELEASED,
    SYN_MT_REPORT,
    EventTuple,
    letting_go,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Event = EventTuple
"""Type, code, value."""
KeyOrTouch = tuple[int, int]
"""A key: (EV_KEY, its code). A touch: (EV_ABS, its slot)."""

PRESSED, REPEATED = 1, 2
"""Values of EV_KEY. What repeats a key changes nothing here."""
FIRST_SLOT = 0
"""The slot that events describe when none was chosen."""


class InjectorState:
    """One injector: what it holds, oldest first, and its slot."""

    def __init__(self) -> None:
        self.held: dict[KeyOrTouch, None] = {}
        self.slot = FIRST_SLOT
        self.contacts = False
        """True while it has contacts of protocol A, which have no slots."""
        self.axes: set[int] = set()
        """Axes that it took away from their value at rest."""

    @property
    def touches(self) -> bool:
        """True while it has anything on the surface of the device, or above it."""
        return (
            self.contacts
            or bool(self.axes)
            or any(kind == EV_ABS or number in CONTACT_KEYS for kind, number in self.held)
        )


class HeldKeys:
    """What is held on one device.

    `has_slots` is true for devices that speak protocol B. `resting` has the values of axes that go
    back when nothing touches the device.
    """

    def __init__(self, *, has_slots: bool, resting: Mapping[int, int] | None = None) -> None:
        self.has_slots = has_slots
        self._resting = resting or {}
        self._axes = dict(self._resting)
        """The values of those axes that the driver was told last."""
        self._holders: dict[KeyOrTouch, dict[InjectorState, None]] = {}
        self._injectors: set[InjectorState] = set()
        """Those that sent something and have not left."""
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
        self._injectors.add(injector)
        seen: list[Event] = []
        reported = contacts = False
        for event in events:
            kind, code, value = event
            if kind == EV_KEY:
                if value == REPEATED or self._key(injector, (EV_KEY, code), value):
                    seen.append(event)
            elif kind == EV_ABS and self.has_slots and (code == ABS_MT_SLOT or code in ABS_MT):
                seen += self._touch(injector, event)
            else:
                seen.append(event)
                if kind == EV_ABS and code in self._resting:
                    self._move(injector, code, value)
                contacts |= kind == EV_ABS and code in ABS_MT
                reported |= kind == EV_SYN and code == SYN_MT_REPORT
        if reported:
            injector.contacts = contacts
        return seen

    def adopt(self, injector: InjectorState, keys: Iterable[int]) -> None:
        """Let an injector hold keys that the driver has seen pressed already."""
        self._injectors.add(injector)
        for code in keys:
            if (EV_KEY, code) not in injector.held:
                self._hold(injector, (EV_KEY, code))

    def release(self, injector: InjectorState) -> list[Event]:
        """Release everything that an injector holds; return the events of the packet to send."""
        self._injectors.discard(injector)
        touched, contacts = injector.touches, injector.contacts
        freed = [one for one in reversed(list(injector.held)) if self._release(injector, one)]
        injector.contacts = False
        injector.axes.clear()
        return self._let_go(freed, touched=touched, contacts=contacts)

    def release_all(self) -> list[Event]:
        """Release everything of all injectors; return the events of the packet to send."""
        touched = contacts = False
        for injector in self._injectors:
            touched |= injector.touches
            contacts |= injector.contacts
            injector.held.clear()
            injector.axes.clear()
            injector.contacts = False
        freed = list(reversed(self._holders))
        self._holders.clear()
        return self._let_go(freed, touched=touched, contacts=contacts)

    def _let_go(self, freed: Sequence[KeyOrTouch], *, touched: bool, contacts: bool) -> list[Event]:
        """Make the packet that releases what nobody holds any more.

        `touched` says that something left the surface; `contacts`, that protocol A reported it.
        """
        keys = [number for kind, number in freed if kind == EV_KEY]
        others = [holders for (kind, _), holders in self._holders.items() if kind == EV_ABS]
        if others and BTN_TOUCH in keys:
            keys.remove(BTN_TOUCH)
            for injector in {one: None for holders in others for one in holders}:
                self._hold(injector, (EV_KEY, BTN_TOUCH))
        axes: dict[int, int] = {}
        if touched and not others and (EV_KEY, BTN_TOUCH) not in self._holders:
            axes = {code: rest for code, rest in self._resting.items() if self._axes[code] != rest}
            self._axes |= axes
        slots = [number for kind, number in freed if kind == EV_ABS]
        before, self._slot = self._slot, slots[-1] if slots else self._slot
        return letting_go(slots=slots, keys=keys, axes=axes, contacts=contacts, slot=before)

    def _key(self, injector: InjectorState, key: KeyOrTouch, value: int) -> bool:
        """Note what an injector does with a key; False when the driver is not to see it."""
        others = self._holders.get(key, {})
        if value == PRESSED and key not in injector.held:
            self._hold(injector, key)
            return len(self._holders[key]) == 1
        if value == RELEASED and key in injector.held:
            return self._release(injector, key)
        # Pressed again, or released without being pressed: the driver sees it as it is.
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

    def _move(self, injector: InjectorState, code: int, value: int) -> None:
        """Note the value of an axis that goes back when nothing touches the device."""
        self._axes[code] = value
        if value == self._resting[code]:
            injector.axes.discard(code)
        else:
            injector.axes.add(code)

    def _choose(self, slot: int) -> Sequence[Event]:
        """Make the event that chooses a slot, unless it is chosen."""
        if self._slot == slot:
            return []
        self._slot = slot
        return [(EV_ABS, ABS_MT_SLOT, slot)]
