"""Whether a stopped device goes on with the driver that it had, or begins with another one.

The protocol has no word for it. QEMU stops every ring when its guest is paused and when its guest
resets the device, sends SET_STATUS 0 both times where the back end takes STATUS, and the features
again when rings are started. While all rings are stopped the device is suspended ("Suspended device
state"): a paused guest has its resources in a GPU, its keys in a keyboard. What tells the two apart
is where rings start: those of a paused guest where they were stopped, those of a new driver at the
beginning.

It is decided once, before the first ring is served, from all rings that were started by then: QEMU
starts every ring before it enables one, and disables all before it stops one. Of a front end that
starts and enables ring by ring, the first ring decides. Where rings don't tell, the driver is
another one: no driver finds what one before it has left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_native import GuestMemory

SPLIT_BEGINNING = 0
"""The base of a split ring that was never used."""
PACKED_BEGINNING = 1 << 31 | 1 << 15
"""That of a packed one: both wrap counters are 1 (virtio 1.4, 2.8.1)."""
DESCRIPTOR_SIZE = 16
"""Bytes of a packed descriptor, of which the last has the flag USED (2.8.13)."""
USED = 1 << 7
"""VIRTQ_DESC_F_USED in that byte (2.8.1)."""


class Continuation:
    """Decides for one front end. `renew` resets the device for another driver, before it starts."""

    def __init__(self) -> None:
        self.renew: Callable[[], None] = lambda: None
        self._left: dict[int, int] = {}
        """Bases of the rings that were served since the last reset and are not now, by index."""
        self._started: set[int] = set()
        """Rings that were started since the last `ask`."""
        self._is_open = False

    @property
    def has_left(self) -> bool:
        """A ring was served since the last reset, and is not now."""
        return bool(self._left)

    def left(self, index: int, base: int | None) -> None:
        """Note where a ring was stopped."""
        if base is not None:
            self._left[index] = base

    def goes_on(self, index: int) -> None:
        """Note that a ring is served."""
        self._left.pop(index, None)

    def forget(self) -> None:
        """Note a reset: nothing can go on."""
        self._left.clear()
        self._is_open = False

    def ask(self) -> None:
        """Decide before a ring is served: what was sent may be for either driver."""
        self._started.clear()
        self._is_open = True

    def starts(self, index: int) -> None:
        """Note that the front end starts a ring: from now on its base is known."""
        self._started.add(index)

    def decide(self, place: Callable[[int], int], beginning: int) -> None:
        """Decide, if that is due. `place` gives the base at which a started ring starts.

        The driver is the one of before if no ring starts elsewhere than where it was stopped, and
        one of them was stopped elsewhere than at the beginning. A ring that was stopped there was
        not used, or came round: it starts at the same base for either driver.
        """
        if not self._is_open:
            return
        self._is_open = False
        told = self._started & self._left.keys()
        same = all(place(index) == self._left[index] for index in told)
        if not same or all(self._left[index] == beginning for index in told):
            self.forget()
            self.renew()


def is_fresh(memory: GuestMemory, descriptor_area: int, size: int) -> bool:
    """Return True if a packed ring with base 0 was never used.

    Base 0 means that both wrap counters are 0: the ring is in its second lap. User-mode Linux also
    sends it for new rings, whose counters are 1 (virtio 1.4, 2.8.1). The descriptors tell the two
    apart: in a new ring none has the flag USED. In a ring that has come to base 0, the device used
    the last chain in a lap with counter 1, and no driver clears USED there in this lap. Other
    descriptors may lack USED, because they were in the middle of chains.
    """
    descriptors = memory.read(descriptor_area, DESCRIPTOR_SIZE * size)
    return not any(last & USED for last in descriptors[DESCRIPTOR_SIZE - 1 :: DESCRIPTOR_SIZE])
