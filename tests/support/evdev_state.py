"""The state of an input device as a receiver of its events sees it: an independent judge.

It follows docs.kernel.org/input/multi-touch-protocol.html and event-codes.html, and shares no code
with the product: the numbers below are those of the kernel's header.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SYN, KEY, ABS = 0, 1, 3
SYN_REPORT, SYN_MT_REPORT = 0, 2
BTN_TOUCH = 0x14A
PRESSURE, TOOL_WIDTH = 0x18, 0x1C
MT_SLOT, MT_TRACKING_ID = 0x2F, 0x39
MT = range(0x30, 0x3E)


@dataclass
class EvdevState:
    """What is down. `frames` counts the packets; `faults` names what contradicts itself."""

    has_slots: bool
    keys: set[int] = field(default_factory=set)
    touches: set[int] = field(default_factory=set)
    contacts: int = 0
    pressure: int = 0
    width: int = 0
    frames: int = 0
    faults: list[str] = field(default_factory=list)
    _slot: int = 0
    _contacts: int = 0
    _point: bool = False
    _reported: bool = False

    def take(self, events: list[tuple[int, int, int]]) -> None:
        """Receive events."""
        for kind, code, value in events:
            if kind == KEY:
                (self.keys.add if value else self.keys.discard)(code)
            elif kind == ABS:
                self._axis(code, value)
            elif (kind, code) == (SYN, SYN_MT_REPORT):
                self._reported = True
                self._contacts += self._point
                self._point = False
            elif (kind, code) == (SYN, SYN_REPORT):
                self._end()

    def _axis(self, code: int, value: int) -> None:
        """Receive a value of an axis."""
        if code == MT_SLOT:
            self._slot = value
        elif code == MT_TRACKING_ID and self.has_slots:
            (self.touches.discard if value == -1 else self.touches.add)(self._slot)
        elif code in MT and not self.has_slots:
            self._point = True
        elif code == PRESSURE:
            self.pressure = value
        elif code == TOOL_WIDTH:
            self.width = value

    def _end(self) -> None:
        """Receive the end of a packet."""
        self.frames += 1
        if self._reported:
            self.contacts, self._contacts, self._reported = self._contacts, 0, False
        if BTN_TOUCH not in self.keys and (self.touches or self.contacts):
            self.faults.append(f"packet {self.frames}: a contact without BTN_TOUCH")
        if BTN_TOUCH in self.keys and self.has_slots and not self.touches:
            self.faults.append(f"packet {self.frames}: BTN_TOUCH without a contact")

    @property
    def is_neutral(self) -> bool:
        """True when nothing is down, and nothing is pressed."""
        return not (self.keys or self.touches or self.contacts or self.pressure or self.width)
