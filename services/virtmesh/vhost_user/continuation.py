"""Whether a stopped device goes on with the driver that it had, or begins with another one.

The protocol has no word for it. QEMU stops every ring when its guest is paused and when its guest
resets the device, sends SET_STATUS 0 both times where the back end takes STATUS, and the features
again when rings are started. While all rings are stopped the device is suspended ("Suspended device
state"): a paused guest has its resources in a GPU, its keys in a keyboard. What tells the two apart
is where rings start: those of a paused guest where they were stopped, those of a new driver at the
beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SPLIT_BEGINNING = 0
"""The base of a split ring that was never used."""
PACKED_BEGINNING = 1 << 31 | 1 << 15
"""That of a packed one: both wrap counters are 1 (virtio 1.4, 2.8.1)."""


class Continuation:
    """Decides for one front end. `renew` resets the device for another driver, before it starts."""

    def __init__(self) -> None:
        self.renew: Callable[[], None] = lambda: None
        self._left: dict[int, int] = {}
        """Bases at which rings were stopped, by index."""
        self._is_open = False

    @property
    def has_left(self) -> bool:
        """A ring was served since the last reset, and is not now."""
        return bool(self._left)

    def left(self, index: int, base: int | None) -> None:
        """Note where a ring was stopped."""
        if base is not None:
            self._left[index] = base

    def forget(self) -> None:
        """Note a reset: nothing can go on."""
        self._left.clear()
        self._is_open = False

    def ask(self) -> None:
        """Decide at the next start of a ring: what was sent may be for either driver."""
        self._is_open = True

    def starts(self, index: int, base: int | None, *, packed: bool) -> None:
        """Decide, if this ring tells it. `base` is None for one that its driver has just made."""
        before = self._left.get(index)
        if not self._is_open or before is None:
            return
        beginning = PACKED_BEGINNING if packed else SPLIT_BEGINNING
        start = beginning if base is None else base
        if start != before:
            self.forget()
            self.renew()
        elif before != beginning:
            self._is_open = False  # Else it was not used, or came round: another ring tells.
