"""Checks that a packet is one that the device can send (virtmesh.input.v1, InjectRequest).

Real devices go beyond the ranges that they state, and many state none: a touchpad is some units
off at its edges, and an axis from 0 to 0 is one that nobody filled in. Linux passes all of that on.
So an axis without a range takes any value, and a request can say that its values are to be taken
as they are. A slot is checked always, because Linux drops those that a device does not have.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from virtmesh_common.evdev import CODES, TYPES, name_of, type_name
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.release import (
    ABS_MT_SLOT,
    ABS_MT_TRACKING_ID,
    EV_ABS,
    EV_KEY,
    EV_SYN,
    NO_TOUCH,
    SYN_MT_REPORT,
    has_range,
    speaks_protocol_a,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh.input.held_keys import Event
    from virtmesh.input.personality import Personality
    from virtmesh_common.api.input.v1.input_pb2 import InjectRequest

EVENTS_MAX = 1024
"""Most events of a request."""
GOOD_MAX = 1024
"""With so many events that are known to be right, no more are kept."""
LIST_MAX = 16
"""Most names in a message."""
EV_SW = TYPES["EV_SW"]
SYN_REPORT = CODES["EV_SYN"]["SYN_REPORT"]
END: Event = (EV_SYN, SYN_REPORT, 0)
"""The event that ends a packet."""
ANY = (-(1 << 31), (1 << 31) - 1)
"""The range of a value without limits: any 32 bits."""
NOTHING = (1, 0)
"""The range of an event that the device does not have: empty."""
DRIVER_TYPES = frozenset(TYPES[name] for name in ("EV_LED", "EV_SND", "EV_REP"))
"""Types that the driver sends and the device takes."""


class Checker:
    """Checks packets against a personality. Messages call the device `name`."""

    def __init__(self, name: str, personality: Personality) -> None:
        self._name = name
        self._personality = personality
        self._good: set[Event] = set()
        """Some events that were found right: most of what people do is done again."""
        self._ranges = {
            (kind, code): self._range(kind, code)
            for kind, codes in personality.codes.items()
            if kind not in DRIVER_TYPES
            for code in codes
        }
        if speaks_protocol_a(personality.axes):
            self._ranges[EV_SYN, SYN_MT_REPORT] = ANY
        self._any = self._ranges | {
            (kind, code): ANY
            for kind, code in self._ranges
            if kind == EV_ABS and code != ABS_MT_SLOT
        }

    def check(self, request: InjectRequest, *, added: int = 0) -> list[Event]:
        """Return the events of a request, SYN_REPORT at the end. It may have some that were added.

        Errors: BadEvent, with "sequence" and "index" of the event.
        """
        count = len(request.events)
        if not 1 <= count <= EVENTS_MAX + added:
            raise BadEvent(
                f"a packet has 1 to {EVENTS_MAX} events, not {count}",
                sequence=request.sequence,
                index=min(count, EVENTS_MAX),
            )
        events = [(event.type, event.code, event.value) for event in request.events]
        ranges = self._any if request.any_value else self._ranges
        end = events.pop() if events[-1][:2] == END[:2] else END
        if not self._good.issuperset(events):
            for index, (kind, code, value) in enumerate(events):
                low, high = ranges.get((kind, code), NOTHING)
                if not low <= value <= high:
                    why = self._explain(kind, code, value)
                    raise BadEvent(
                        f"event {index} of packet {request.sequence}: {why}",
                        sequence=request.sequence,
                        index=index,
                    )
            if len(self._good) < GOOD_MAX and not request.any_value:
                self._good.update(events)
        return [*events, end]

    def check_keys(self, codes: Iterable[int]) -> list[int]:
        """Return those of some codes that are keys of the device."""
        return [code for code in codes if (EV_KEY, code) in self._ranges]

    def _range(self, kind: int, code: int) -> tuple[int, int]:
        """Return the smallest and the largest value of an event."""
        if kind == EV_ABS:
            axis = self._personality.axes[code]
            if not has_range(axis) and code != ABS_MT_SLOT:
                return ANY
            # The end of a touch is no position on the axis.
            lowest = NO_TOUCH if code == ABS_MT_TRACKING_ID else axis.minimum
            return min(lowest, axis.minimum), axis.maximum
        if kind == EV_KEY:
            return 0, 2  # released, pressed, repeated
        return (0, 1) if kind == EV_SW else ANY

    def _explain(self, kind: int, code: int, value: int) -> str:
        """Return why an event is refused, and what would be accepted."""
        if kind == EV_SYN and code == SYN_MT_REPORT:
            return (
                f"SYN_MT_REPORT is for devices whose contacts have no slots: {self._name} is none"
            )
        if kind == EV_SYN:
            return "SYN_REPORT ends a packet, so it stands at its end only: send two packets"
        if (kind, code) in self._ranges:
            low, high = self._ranges[kind, code]
            may_differ = self._any[kind, code] != (low, high)
            mend = ": set any_value to send it all the same" * may_differ
            return f"{name_of(kind, code)} is from {low} to {high}, not {value}{mend}"
        if kind in DRIVER_TYPES:
            return f"{type_name(kind)} is for the driver to send, not for {self._name}"
        return self._explain_lack(kind, code)

    def _explain_lack(self, kind: int, code: int) -> str:
        """Return what the device has in place of an event that it does not have."""
        codes = self._personality.codes.get(kind, ())
        if not codes:
            kinds = (one for one in self._personality.codes if one not in DRIVER_TYPES)
            has = ", ".join(type_name(one) for one in kinds)
            return f"{self._name} has no {type_name(kind)}: it has {has}"
        name = name_of(kind, code)
        names = [name_of(kind, one) for one in codes]
        if len(names) > LIST_MAX:
            names = get_close_matches(name, names, n=3, cutoff=0)
            return f"{self._name} has no {name}; the nearest that it has are {', '.join(names)}"
        return f"{self._name} has no {name}: it has {', '.join(names)}"
