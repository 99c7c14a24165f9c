"""The characters that keystrokes compose, by the compose table: dead keys, Multi_key, any length.

The table can't be listed before libxkbcommon 1.6. So sequences are tried, shorter ones first, with
what a layout types, and only as long as they lead on.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh_common.input.text import xkb
from virtmesh_common.input.text.strokes import Stroke, Strokes, sequence_cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LONGEST = 8
"""Most keystrokes of one composition; the tables of X11 have up to six."""


@dataclass
class Starts:
    """What a layout can feed to a composition: the cheapest stroke of each keysym."""

    first: dict[int, Stroke] = field(default_factory=dict)
    """To begin with."""
    later: dict[int, Stroke] = field(default_factory=dict)
    """To go on with: no modifier of theirs ends a composition."""

    def add(self, keysym: int, stroke: Stroke, *, ends: bool) -> None:
        """Add a stroke. `ends`: pressing its modifiers ends a composition."""
        keep_cheapest(self.first, keysym, stroke)
        if not ends:
            keep_cheapest(self.later, keysym, stroke)


def keep_cheapest(found: dict[int, Stroke], keysym: int, stroke: Stroke) -> None:
    """Keep a stroke that is cheaper than what is known."""
    if keysym not in found or stroke.cost < found[keysym].cost:
        found[keysym] = stroke


class Search:
    """Compositions of a layout, found length by length, as far as somebody asks.

    A layout is kept for later texts, so several threads may ask at once: one searches at a time.
    """

    def __init__(self, table: xkb.ComposeTable, starts: Starts) -> None:
        self.found: dict[str, Strokes] = {}
        """The cheapest strokes of each text that is composed."""
        self._state = xkb.ComposeState(table)
        self._searching = threading.Lock()
        self._starts = starts
        self._edge: list[tuple[tuple[int, ...], Strokes]] = [((), ())]
        self._length = 0

    def look_for(self, texts: Iterable[str]) -> None:
        """Search until all of these texts are found, or there are no more sequences."""
        wanted = set(texts)
        with self._searching:
            while wanted - self.found.keys() and self._edge:
                self._lengthen()

    def exhaust(self) -> Mapping[str, Strokes]:
        """Find all, and return them."""
        with self._searching:
            while self._edge:
                self._lengthen()
            return self.found

    def _lengthen(self) -> None:
        """Try all sequences that are one keystroke longer."""
        starts = self._starts.later if self._length else self._starts.first
        new: dict[str, Strokes] = {}
        edge: list[tuple[tuple[int, ...], Strokes]] = []
        for keysyms, strokes in self._edge:
            for keysym, stroke in starts.items():
                longer = (*keysyms, keysym)
                status = self._state.after(longer)
                if status == xkb.ComposeStatus.COMPOSED:
                    keep_shortest(new, self._state.text(), (*strokes, stroke))
                elif status == xkb.ComposeStatus.COMPOSING:
                    edge.append((longer, (*strokes, stroke)))
        self._length += 1
        self._edge = edge if self._length < LONGEST else []
        self.found = new | self.found


def keep_shortest(found: dict[str, Strokes], text: str, strokes: Strokes) -> None:
    """Keep strokes that are cheaper than what is known."""
    if text and (text not in found or sequence_cost(strokes) < sequence_cost(found[text])):
        found[text] = strokes
