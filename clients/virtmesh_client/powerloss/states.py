"""The states that a power loss may leave: which, how many, and each by its number.

Of a window, each loose write may be there or not; a torn one is there in part, in units of a
sector or more; and writes that overlap and were under way at the same time may have come in
either order. Where that makes few states, all are tried. Where it makes many, all with whole
writes are tried if these are few, and others by chance. What is chosen depends on the seed, the
window and the options alone, so a number means the same state each time.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import accumulate, combinations, pairwise
from typing import TYPE_CHECKING

from virtmesh_client.powerloss.log import SECTOR
from virtmesh_client.powerloss.windows import Piece, find_windows, subtract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.powerloss.log import WriteLog
    from virtmesh_client.powerloss.windows import Range, Window

PAIRS_MAX = 64
"""Loose writes of which each pair is looked at; of more, orders are chosen by chance."""


@dataclass(frozen=True)
class Choice:
    """Which states are tried."""

    seed: int
    exhaustive: int
    """A window with at most so many states is tried whole."""
    samples: int
    """States by chance of a window with more."""
    limit: int
    """Most states of all windows."""
    tear: int
    """Bytes of the unit in which writes are torn; 0: they are not."""


@dataclass(frozen=True)
class State:
    """One state: what is on the disk beside what is durable."""

    number: int
    window: Window
    pieces: tuple[Piece, ...]
    """What of the loose writes is there, in the order in which it came."""

    def describe(self) -> list[str]:
        """Say of each loose write what is there."""
        kept = {one.write.number: one for one in self.pieces}
        return [_describe(one, kept.get(one.write.number)) for one in self.window.loose]


def _describe(loose: Piece, kept: Piece | None) -> str:
    write = loose.write
    name = f"entry {write.number}, sectors {write.sector} to {write.end - 1}"
    if kept is None:
        return f"{name}: lost"
    if sum(end - start for start, end in kept.ranges) == write.sectors:
        return f"{name}: written"
    spelled = ", ".join(
        f"{start} to {end - 1}" if end - start > 1 else f"{start}" for start, end in kept.ranges
    )
    return f"{name}: torn, only {spelled} written"


class Options:
    """What may be of the loose writes of one window."""

    def __init__(self, window: Window, choice: Choice) -> None:
        self._loose = window.loose
        self._choice = choice
        self._units = [_units(one, choice.tear) for one in self._loose]
        self._conflicts: list[tuple[int, int]] = []
        if len(self._loose) <= PAIRS_MAX:
            self._conflicts = [
                (first, second)
                for first, second in combinations(range(len(self._loose)), 2)
                if _are_concurrent(self._loose[first], self._loose[second])
                and _overlap(self._loose[first], self._loose[second])
            ]
        self._doubts = [index for index, one in enumerate(self._loose) if one.doubtful]
        orders = len(self._conflicts) + len(self._doubts)
        is_small = len(self._loose) <= PAIRS_MAX
        self._whole = 1 << (len(self._loose) + orders) if is_small else 0
        self._torn = 1 << (sum(map(len, self._units)) + orders) if is_small else 0

    @property
    def is_exhaustive(self) -> bool:
        """True if each state is tried."""
        return 0 < self._torn <= self._choice.exhaustive

    @property
    def count(self) -> int:
        """How many states are tried."""
        if self.is_exhaustive:
            return self._torn
        if 0 < self._whole <= self._choice.exhaustive:
            return self._whole + self._choice.samples
        return self._choice.samples

    def pick(self, index: int, seed: str) -> tuple[Piece, ...]:
        """Return the pieces of a state, by its index below `count`."""
        if self.is_exhaustive:
            bits = list(map(len, self._units))
            return self._of_bits(index, bits)
        if 0 < self._whole <= self._choice.exhaustive:
            if index < self._whole:
                return self._of_bits(index, [1] * len(self._loose))
            index -= self._whole - 2  # its first two are among the whole ones
        return self._by_chance(index, seed)

    def _of_bits(self, index: int, bits: list[int]) -> tuple[Piece, ...]:
        """Return the state whose units, orders and doubts are the bits of a number."""
        kept: dict[int, Piece] = {}
        for place, count in enumerate(bits):
            chosen = index & ((1 << count) - 1)
            index >>= count
            if count == 1:
                ranges = self._loose[place].ranges if chosen else ()
            else:
                bits_of = [bool(chosen >> one & 1) for one in range(count)]
                ranges = _select(self._units[place], bits_of)
            if ranges:
                kept[place] = Piece(self._loose[place].write, ranges)
        turned = set()
        for pair in self._conflicts:
            if index & 1:
                turned.add(pair)
            index >>= 1
        for place in self._doubts:
            if index & 1 and place in kept:
                kept[place] = _below(kept[place], self._loose[place].doubtful)
            index >>= 1
        return tuple(kept[one] for one in self._order(sorted(kept), turned))

    def _order(self, places: list[int], turned: set[tuple[int, int]]) -> list[int]:
        """Return places in their order: that of their ends, but for the pairs that are turned."""
        if not turned:
            return places
        before: dict[int, set[int]] = {one: set() for one in places}
        for first, second in combinations(places, 2):
            if _overlap(self._loose[first], self._loose[second]):
                if (first, second) in turned:
                    before[first].add(second)
                else:
                    before[second].add(first)
        ordered: list[int] = []
        while before:
            free = [one for one, others in before.items() if not others]
            if not free:  # the pairs contradict one another
                return places
            ordered.append(free[0])
            del before[free[0]]
            for others in before.values():
                others.discard(free[0])
        return ordered

    def _by_chance(self, index: int, seed: str) -> tuple[Piece, ...]:
        """Return a state by chance. The first has nothing, the second everything."""
        if index == 0:
            return ()
        if index == 1:
            return self._loose
        chance = random.Random(f"{seed}:{index}")  # noqa: S311 - it is to be repeated
        cut = len(self._loose) if chance.random() < 0.5 else chance.randint(0, len(self._loose))
        share = chance.choice((0.1, 0.5, 0.9, 1.0))
        torn = chance.choice((0.0, 0.1, 0.5)) if self._choice.tear else 0.0
        kept: list[tuple[float, int, Piece]] = []
        for place, (loose, units) in enumerate(
            zip(self._loose[:cut], self._units[:cut], strict=True)
        ):
            if chance.random() >= share:
                continue
            ranges = loose.ranges
            if len(units) > 1 and chance.random() < torn:
                ranges = _select(units, _torn_units(chance, len(units)))
            piece = Piece(loose.write, ranges)
            if loose.doubtful and chance.random() < 0.5:
                piece = _below(piece, loose.doubtful)
            at = chance.uniform(loose.write.begun, loose.write.ended)
            kept.append((at, place, piece))
        kept.sort(key=lambda one: one[:2])
        return tuple(piece for _, _, piece in kept if piece.ranges)


class Plan:
    """The states of a log that are tried, by their numbers from 0 on."""

    def __init__(self, log: WriteLog, choice: Choice) -> None:
        self._log = log
        self._choice = choice
        self.windows = 0
        """How many windows there are."""
        counts: list[int] = []
        whole: list[bool] = []
        for window in find_windows(log):
            options = Options(window, choice)
            counts.append(options.count)
            self.windows += 1
            whole.append(options.is_exhaustive)
        self._counts = counts
        self._shares = _share(counts, choice)
        tried = zip(whole, counts, self._shares, strict=True)
        self.exhaustive = sum(is_whole and count == share for is_whole, count, share in tried)
        """How many of them are tried whole."""
        self._starts = [0, *accumulate(self._shares)]

    def __len__(self) -> int:
        return self._starts[-1]

    def states(self, *, only: int | None = None) -> Iterator[State]:
        """Return the states, in the order of their windows; or the one of a number."""
        settled: list[Piece] = []
        wanted = None if only is None else bisect_right(self._starts, only) - 1
        for window in find_windows(self._log):
            settled += window.settled
            share, count = self._shares[window.number], self._counts[window.number]
            if not share or wanted not in {None, window.number}:
                continue
            whole = replace(window, settled=tuple(settled))
            settled = []
            options = Options(whole, self._choice)
            seed = f"{self._choice.seed}:{window.number}"
            indexes = range(count) if share == count else _some(count, share, seed)
            for place, index in enumerate(indexes):
                number = self._starts[window.number] + place
                if only in {None, number}:
                    yield State(number, whole, options.pick(index, seed))


def _share(counts: list[int], choice: Choice) -> list[int]:
    """Return how many states of each window are tried, so that they are not more than the limit."""
    if sum(counts) <= choice.limit:
        return counts
    if len(counts) > choice.limit:
        chance = random.Random(choice.seed)  # noqa: S311 - it is to be repeated
        chosen = set(chance.sample(range(len(counts)), choice.limit))
        return [int(index in chosen) for index in range(len(counts))]
    low, high = 1, max(counts)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(count, middle) for count in counts) <= choice.limit:
            low = middle
        else:
            high = middle - 1
    return [min(count, low) for count in counts]


def _some(count: int, share: int, seed: str) -> list[int]:
    """Return some indexes of many, by chance: the first one is among them."""
    chance = random.Random(seed)  # noqa: S311 - it is to be repeated
    return [0, *sorted(chance.sample(range(1, count), share - 1))]


def _units(piece: Piece, tear: int) -> list[Range]:
    """Cut what may be there into the units in which it is torn: at places of the disk."""
    if not tear:
        return [(start, end) for start, end in piece.ranges[:1]]
    step = tear // SECTOR
    units: list[Range] = []
    for start, end in piece.ranges:
        if (end - start) // step > 1 << 16:  # zeroes of gigabytes
            step = (end - start) >> 16
        cuts = [start, *range((start // step + 1) * step, end, step), end]
        units += pairwise(cuts)
    return units


def _select(units: list[Range], chosen: list[bool]) -> tuple[Range, ...]:
    """Return the chosen units, as few ranges."""
    ranges: list[Range] = []
    for (start, end), is_chosen in zip(units, chosen, strict=True):
        if not is_chosen:
            continue
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
    return tuple(ranges)


def _torn_units(chance: random.Random, count: int) -> list[bool]:
    """Tear a write of several units: only its beginning is there, its end, or any of them."""
    kind, at = chance.randrange(3), chance.randint(1, count - 1)
    if kind == 0:
        return [index < at for index in range(count)]
    if kind == 1:
        return [index >= at for index in range(count)]
    return [chance.random() < 0.5 for _ in range(count)]


def _below(piece: Piece, ranges: tuple[Range, ...]) -> Piece:
    """Return a piece that came before durable ones at some ranges."""
    left = piece.ranges
    for one in ranges:
        left = subtract(left, one)
    return Piece(piece.write, left)


def _are_concurrent(first: Piece, second: Piece) -> bool:
    return first.write.begun < second.write.ended and second.write.begun < first.write.ended


def _overlap(first: Piece, second: Piece) -> bool:
    return any(
        max(one[0], other[0]) < min(one[1], other[1])
        for one in first.ranges
        for other in second.ranges
    )
