"""The cells of a terminal, and the text that fills them.

It knows what the monitor sends, and no more (ECMA-48): CR, LF, BS, BEL, TAB, CUP (`ESC [ H`), ED
(`ESC [ J`) and EL (`ESC [ K`). Other sequences are swallowed. A character at the end of a row
leaves the cursor there; the next one begins a row, as xterm has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import get_character_cell_size

if TYPE_CHECKING:
    from collections.abc import Sequence

BLANK = " "
CONTINUED = ""
"""The right half of a character that takes two cells."""
TAB_STOP = 8
SEQUENCE_MAX = 32
"""Longest escape sequence, in characters. Of a longer one the rest is text again."""
ESC = "\x1b"


class Grid:
    """Rows of cells, and a cursor. `scrolled` counts the rows that have left at the top."""

    def __init__(self, columns: int = 80, rows: int = 25) -> None:
        self.columns = columns
        self.cells = [[BLANK] * columns for _ in range(rows)]
        self.x = self.y = 0
        self.scrolled = 0
        self._wraps = False
        """The cursor stands on the character that it has just written in the last column."""
        self._sequence: str | None = None

    @property
    def rows(self) -> int:
        """Rows of the grid."""
        return len(self.cells)

    @property
    def text(self) -> Sequence[str]:
        """The rows as text, without spaces at their ends."""
        return ["".join(row).rstrip() for row in self.cells]

    def feed(self, text: str) -> None:
        """Take output."""
        for character in text:
            if self._sequence is not None:
                self._take_in_sequence(character)
            elif character == ESC:
                self._sequence = ""
            elif character >= BLANK:
                self._put(character)
            else:
                self._control(character)

    def resize(self, columns: int, rows: int) -> None:
        """Lay the cells out anew. Rows up to the cursor's stay, as many as fit: the last ones."""
        gone = max(self.y + 1 - rows, 0)
        kept = self.cells[gone : gone + rows]
        self.cells = [(row + [BLANK] * columns)[:columns] for row in kept]
        for row in self.cells:
            for x, one in enumerate(row):
                if get_width(one) > 1 and row[x + 1 : x + 2] != [CONTINUED]:
                    row[x] = BLANK  # its right half is cut off, or had no room in a single column
        self.cells += [[BLANK] * columns for _ in range(rows - len(kept))]
        self.columns = columns
        self.x, self.y = min(self.x, columns - 1), self.y - gone
        self._wraps = False

    def _put(self, character: str) -> None:
        """Write a character at the cursor, and go on."""
        width = min(get_width(character), self.columns)
        if not width:
            return  # a combining mark has no cell
        if self._wraps or self.x + width > self.columns:
            self.x = 0
            self._line_feed()
        row = self.cells[self.y]
        self._part(row, self.x)
        self._part(row, self.x + width)
        row[self.x : self.x + width] = [character, *[CONTINUED] * (width - 1)]
        self._wraps = self.x + width >= self.columns
        self.x = min(self.x + width, self.columns - 1)

    def _part(self, row: list[str], x: int) -> None:
        """Blank a character of two cells of which only the right one, `x`, would be left or go."""
        if 0 < x < self.columns and row[x] == CONTINUED:
            row[x - 1] = row[x] = BLANK

    def _control(self, character: str) -> None:
        """Obey a control character; those that are not known do nothing."""
        if character == "\n":
            self._line_feed()
        elif character == "\r":
            self.x = 0
        elif character == "\b":
            # Behind a full row it is thought of as one further: the line editor goes back over it.
            self.x = max(self.x - (not self._wraps), 0)
        elif character == "\t":
            self.x = min(self.x + TAB_STOP - self.x % TAB_STOP, self.columns - 1)
        else:
            return
        self._wraps = False

    def _line_feed(self) -> None:
        """Go down a row; at the bottom the rows go up."""
        self._wraps = False
        if self.y < self.rows - 1:
            self.y += 1
            return
        del self.cells[0]
        self.cells.append([BLANK] * self.columns)
        self.scrolled += 1

    def _take_in_sequence(self, character: str) -> None:
        """Take a character behind ESC; the last one of a sequence says what it is."""
        before = self._sequence or ""
        sequence = before + character
        if sequence == "[" or "\x20" <= character <= ("\x3f" if before[:1] == "[" else "\x2f"):
            self._sequence = sequence if len(sequence) < SEQUENCE_MAX else None
            return
        self._sequence = None
        if before[:1] == "[":
            self._obey(character, [to_number(one) for one in before[1:].split(";")])

    def _obey(self, final: str, numbers: Sequence[int]) -> None:
        """Obey a control sequence."""
        first, second, *_ = *numbers, 0, 0
        if final == "H":
            self.y = min(max(first, 1), self.rows) - 1
            self.x = min(max(second, 1), self.columns) - 1
            self._wraps = False
        elif final == "J":
            self._erase_rows(first)
        elif final == "K":
            self._erase(self.y, *self._span(first, self.x, self.columns))

    def _erase_rows(self, which: int) -> None:
        """Erase from the cursor on (0), up to it (1), or all (2)."""
        start, stop = self._span(which, self.y, self.rows)
        for y in range(start, stop):
            columns = (0, self.columns) if y != self.y else self._span(which, self.x, self.columns)
            self._erase(y, *columns)

    def _span(self, which: int, at: int, end: int) -> tuple[int, int]:
        """Return what is erased: from a place on (0), up to it (1), or all (2)."""
        return (0 if which else at), (at + 1 if which == 1 else end)

    def _erase(self, y: int, start: int, stop: int) -> None:
        """Blank cells of a row."""
        row = self.cells[y]
        self._part(row, start)
        self._part(row, stop)
        row[start:stop] = [BLANK] * (stop - start)


def to_number(text: str) -> int:
    """Return a parameter of a sequence; what is no number is 0, as one that is left out."""
    return int(text) if text.isdecimal() else 0


def get_width(character: str) -> int:
    """Return how many cells a character takes: 0 to 2."""
    return 1 if character < "\x7f" else get_character_cell_size(character)
