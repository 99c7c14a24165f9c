"""A line being edited: keys in, the line and what to send to the terminal out.

The terminal is any that knows BACKSPACE: what changes is overwritten in place, so a character typed
at the end of the line echoes as itself and nothing else. A line that is wider than the terminal
is edited right and shown wrong; ^L shows it anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from virtmesh.kernel.monitor.history import History
from virtmesh.kernel.monitor.keys import Key, KeyReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Complete = Callable[[str], Sequence[str]]
    """Returns what the last word of a text can be."""

LINE_MAX = 1024
"""Longest line, in characters."""
COMPLETIONS_SHOWN = 64
"""Most completions that are listed."""
BELL = "\a"
CLEAR = "\x1b[H\x1b[2J"
"""Go to the top and erase the screen (ECMA-48, CUP and ED)."""


@dataclass(frozen=True)
class Fed:
    """What became of input: the text to send, and how many bytes of the input were used.

    `line` is there when one was entered; `cancelled` is True when ^C was typed. Input behind
    either is not used: it may be for someone else.
    """

    echo: str
    used: int
    line: str | None = None
    cancelled: bool = False


class LineEditor:
    """Edits one line after the other, each behind the prompt. It does not wait for anything."""

    def __init__(self, prompt: str, complete: Complete = lambda _: ()) -> None:
        self.prompt = prompt
        self._complete = complete
        self._history = History()
        self._keys = KeyReader()
        self._text = ""
        self._cursor = 0

    def feed(self, data: bytes) -> Fed:
        """Take input, up to the end of a line."""
        echo: list[str] = []
        for used, byte in enumerate(data, start=1):
            for key in self._keys.feed(byte):
                if key is Key.ENTER:
                    shown = "".join((*echo, self._to(len(self._text)), "\n"))
                    line_feed = self._keys.finish_return(data[used : used + 1])
                    return Fed(shown, used + line_feed, self._end())
                if key is Key.CANCEL:
                    self._end(keep=False)
                    return Fed("".join((*echo, "^C\n")), used, cancelled=True)
                echo.append(self._type(key) if isinstance(key, str) else self._press(key))
        return Fed("".join(echo), len(data))

    def redraw(self) -> str:
        """Return what shows the prompt and the line at the beginning of an empty line."""
        return self.prompt + self._text + _back(self._text[self._cursor :])

    def _end(self, *, keep: bool = True) -> str:
        """Return the line, and begin the next."""
        line, self._text, self._cursor = self._text, "", 0
        self._history.add(line if keep else "")
        return line

    def _type(self, characters: str) -> str:
        """Insert characters at the cursor."""
        if len(self._text) + len(characters) > LINE_MAX:
            return BELL
        at = self._cursor
        text = self._text[:at] + characters + self._text[at:]
        return self._change(text, at + len(characters), same=at)

    def _press(self, key: Key) -> str:
        """Do what a key says."""
        text, cursor, end = self._text, self._cursor, len(self._text)
        moves = {
            Key.LEFT: max(cursor - 1, 0),
            Key.RIGHT: min(cursor + 1, end),
            Key.HOME: 0,
            Key.END: end,
        }
        cuts = {
            Key.BACKSPACE: (max(cursor - 1, 0), cursor),
            Key.DELETE: (cursor, cursor + 1),
            Key.KILL_BEFORE: (0, cursor),
            Key.KILL_AFTER: (cursor, end),
            Key.KILL_WORD: (text[:cursor].rstrip().rfind(" ") + 1, cursor),
        }
        if key in moves:
            return self._to(moves[key])
        if key in cuts:
            return self._cut(*cuts[key])
        if key is Key.TAB:
            return self._complete_word()
        if key is Key.REDRAW:
            return f"{CLEAR}{self.redraw()}"
        line = self._history.move(-1 if key is Key.UP else 1, text)
        return BELL if line is None else self._change(line, len(line), same=_common(line, text))

    def _cut(self, start: int, stop: int) -> str:
        """Take a part of the line away."""
        if start >= min(stop, len(self._text)):
            return ""
        return self._change(self._text[:start] + self._text[stop:], start, same=start)

    def _complete_word(self) -> str:
        """Complete the word before the cursor as far as it is clear, or list what it can be."""
        before = self._text[: self._cursor]
        word = before[before.rfind(" ") + 1 :]
        found = sorted(one for one in self._complete(before) if one.startswith(word))
        if not found:
            return BELL
        # What the first and the last of a sorted list have in common, all of it has.
        more = found[0][len(word) : _common(found[0], found[-1])]
        if len(found) == 1:
            return self._type(f"{more} ")
        if more:
            return self._type(more)
        return f"\n{'  '.join(found[:COMPLETIONS_SHOWN])}\n{self.redraw()}"

    def _to(self, cursor: int) -> str:
        """Move the cursor."""
        left, right = sorted((cursor, self._cursor))
        between = self._text[left:right]
        moved = between if cursor > self._cursor else _back(between)
        self._cursor = cursor
        return moved

    def _change(self, text: str, cursor: int, *, same: int) -> str:
        """Make the line another one: the first `same` characters stay, the rest is overwritten."""
        go_there = self._to(same)
        gone = max(cell_len(self._text[same:]) - cell_len(text[same:]), 0)
        self._text, self._cursor = text, cursor
        blank = " " * gone + "\b" * gone
        return go_there + text[same:] + blank + _back(text[cursor:])


def _back(text: str) -> str:
    """Return what moves the cursor back over a text."""
    return "\b" * cell_len(text)


def _common(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginnings."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
