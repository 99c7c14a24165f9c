"""A batch of cycles: the same guards before some equal accesses, many times, made as a whole.

It is a batch like any other, and looked at as one by whoever does not know it. Who sends it takes
`packed`, and who checks its answer compares columns: both cost as much as two of its cycles one by
one, however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, overload

from virtmesh.attach.bus import ENTRY, Access, columns

if TYPE_CHECKING:
    from collections.abc import Iterator

NARROW = 0xFF
"""The largest value that a register of every width can have."""


@dataclass(frozen=True)
class Prepared:
    """An access with its entry in a packet of the register channel."""

    access: Access
    packed: bytes

    @classmethod
    def of(cls, access: Access) -> Prepared:
        """Prepare an access."""
        return cls(access, pack((access,)))


class CycleBatch(Sequence[Access]):
    """Guards, then `length` accesses of the run; again, to the end of the run; then a tail.

    The last cycle may be shorter than the others.
    """

    def __init__(
        self,
        guards: Sequence[Prepared],
        run: Sequence[Prepared],
        length: int,
        tail: Sequence[Prepared] = (),
    ) -> None:
        self._guards = guards
        self._run = run
        self._tail = tail
        self._length = length
        self._period = len(guards) + length
        self._head = b"".join([one.packed for one in guards])
        self._count = len(run) + -(-len(run) // length) * len(guards) + len(tail)

    @cached_property
    def packed(self) -> bytes:
        """The entries of its packet."""
        parts, length = [], self._length
        entries = [one.packed for one in self._run]
        for start in range(0, len(entries), length):
            parts.append(self._head)
            parts += entries[start : start + length]
        parts += [one.packed for one in self._tail]
        return b"".join(parts)

    def takes(self, values: Sequence[int]) -> bool:
        """Say whether each value fits its access and lets the batch go on, as far as is seen here.

        The last value need not let it go on. Where this says no, each value tells for itself.
        """
        if values and max(values) > NARROW:
            return False
        last, period = len(values) - 1, self._period
        return all(
            guard.access.met_by(value)
            for place, guard in enumerate(self._guards)
            for value in set(values[place : min(last, self._cycles_end) : period])
        )

    @property
    def _cycles_end(self) -> int:
        """Where the tail begins."""
        return self._count - len(self._tail)

    def _accesses(self) -> list[Access]:
        """Make a list of every access."""
        made, guards = [], [one.access for one in self._guards]
        for start in range(0, len(self._run), self._length):
            made += guards
            made += [one.access for one in self._run[start : start + self._length]]
        return made + [one.access for one in self._tail]

    def __len__(self) -> int:
        """Return how many accesses it has."""
        return self._count

    def __iter__(self) -> Iterator[Access]:
        """Yield the accesses in order."""
        return iter(self._accesses())

    @overload
    def __getitem__(self, index: int) -> Access: ...

    @overload
    def __getitem__(self, index: slice) -> list[Access]: ...

    def __getitem__(self, index: int | slice) -> Access | list[Access]:
        """Return an access, or several."""
        if isinstance(index, slice):
            return self._accesses()[index]
        index = range(self._count)[index]
        if index >= self._cycles_end:
            return self._tail[index - self._cycles_end].access
        cycle, place = divmod(index, self._period)
        if place < len(self._guards):
            return self._guards[place].access
        return self._run[cycle * self._length + place - len(self._guards)].access


def pack(batch: Sequence[Access]) -> bytes:
    """Return the entries of a packet. Values are cut to 64 bits, and offsets to 32."""
    if isinstance(batch, CycleBatch):
        return batch.packed
    return b"".join(map(ENTRY.pack, *columns(batch)))
