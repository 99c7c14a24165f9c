"""Bytes of a terminal to keystrokes: text, chords such as "ctrl+c" and "shift+f5", and the rest.

They are UTF-8, control characters and escape sequences as xterm, rxvt and the Linux console send
them (ECMA-48, 5.4; xterm's "Control Sequences").
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ESC = "\x1b"
SEQUENCE_MAX = 32
"""Longest escape sequence, in characters. A longer one is no key, and is dropped."""
PASTE_START, PASTE_END = "[200~", "[201~"
"""Around what was pasted (bracketed paste)."""
CONTROLS = {
    "\0": "ctrl+space",
    "\t": "tab",
    "\r": "enter",
    ESC: "escape",
    "\x1c": "ctrl+backslash",
    "\x1d": "ctrl+rightbrace",
    "\x1e": "ctrl+6",
    "\x1f": "ctrl+slash",
    "\x7f": "backspace",
}
"""Control characters that are keys; the other ones are Ctrl with a letter."""
LETTERS = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "E": "kp5",
    "P": "f1",
    "Q": "f2",
    "R": "f3",
    "S": "f4",
    "M": "kpenter",
    "Z": "shift+tab",
}
"""The last character of a sequence, and its key."""
NUMBERS = {
    1: "home",
    2: "insert",
    3: "delete",
    4: "end",
    5: "pageup",
    6: "pagedown",
    7: "home",
    8: "end",
    **{number: f"f{key}" for key, number in enumerate((11, 12, 13, 14, 15, 17, 18, 19), 1)},
    20: "f9",
    21: "f10",
    23: "f11",
    24: "f12",
}
"""The number before a ~, and its key."""
LINUX_CONSOLE = {letter: f"f{key}" for key, letter in enumerate("ABCDE", 1)}
"""The character behind ESC [ [, and its key."""
MODIFIERS = ((1, "shift"), (2, "alt"), (4, "ctrl"), (8, "meta"))
"""Bits of a modifier parameter less one."""
SEQUENCE = re.compile(r"(?P<start>[\[O])(?P<first>\d*)(?:;(?P<modifiers>\d+))?(?P<last>[A-Za-z~])")


@dataclass(frozen=True)
class Typed:
    """A piece of what was typed: characters, or one chord, or what is neither."""

    text: str = ""
    chord: str = ""
    """Modifiers and one key, as `parse_chord` reads it. A letter stands for its character, which
    the layout has somewhere."""
    unknown: str = ""
    """An escape sequence that stands for no key."""


@dataclass
class TerminalKeys:
    """Turns bytes of a terminal into what was typed. They may be split anywhere."""

    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )
    _sequence: str | None = None
    """What has come behind an ESC; None outside of a sequence."""
    _pasting: bool = False

    @property
    def is_pending(self) -> bool:
        """True behind an ESC that may be a key of its own: `flush` says that nothing follows."""
        return self._sequence is not None

    def feed(self, data: bytes) -> list[Typed]:
        """Take bytes; return what they complete, neighbouring characters in one piece."""
        return list(
            join_text(one for char in self._decoder.decode(data) for one in self._take(char))
        )

    def flush(self) -> list[Typed]:
        """End a sequence that nothing has followed for a while."""
        sequence, self._sequence = self._sequence, None
        if sequence is None or self._pasting:
            return []
        if not sequence:
            return [Typed(chord="escape")]
        return [Typed(chord=f"alt+{sequence}") if len(sequence) == 1 else Typed(unknown=sequence)]

    def _take(self, char: str) -> Iterator[Typed]:
        """Take a character."""
        if self._sequence is not None:
            yield from self._go_on(char)
        elif char == ESC:
            self._sequence = ""
        elif self._pasting:
            yield Typed(text="\n" if char == "\r" else char)
        else:
            yield plain(char)

    def _go_on(self, char: str) -> Iterator[Typed]:
        """Take a character behind ESC."""
        before = self._sequence or ""
        sequence = before + char
        self._sequence = None
        if char == ESC:  # the first one was a key, or its sequence is broken off
            self._sequence = ""
            if not self._pasting:
                yield Typed(unknown=before) if before else Typed(chord="escape")
        elif is_unfinished(sequence):
            if len(sequence) < SEQUENCE_MAX:
                self._sequence = sequence
            else:
                yield Typed(unknown=sequence)
        elif sequence in {PASTE_START, PASTE_END}:
            self._pasting = sequence == PASTE_START
        elif not self._pasting:  # a paste has text alone: a key in it would be somebody's trick
            yield meaning(sequence)


def is_unfinished(sequence: str) -> bool:
    """Say whether a sequence goes on."""
    if sequence in {"[", "O", "[["}:
        return True
    if sequence.startswith("[["):
        return False
    return sequence[0] in "[O" and bool(re.fullmatch(r"[\[O][\x20-\x3f]*", sequence))


def meaning(sequence: str) -> Typed:
    """Return what a whole sequence stands for."""
    if len(sequence) == 1:
        one = plain(sequence)
        if one.text:
            return Typed(chord=f"alt+{one.text}")
        return Typed(chord=f"alt+{one.chord}") if one.chord else Typed(unknown=sequence)
    if sequence.startswith("[[") and sequence[2] in LINUX_CONSOLE:
        return Typed(chord=LINUX_CONSOLE[sequence[2]])
    match = SEQUENCE.fullmatch(sequence)
    key = None
    if match is not None and match["last"] == "~":
        key = NUMBERS.get(int(match["first"] or 0))
    elif match is not None:
        key = LETTERS.get(match["last"])
    if match is None or key is None:
        return Typed(unknown=sequence)
    bits = int(match["modifiers"] or 1) - 1
    if not 0 <= bits < 16:
        return Typed(unknown=sequence)
    names = [name for bit, name in MODIFIERS if bits & bit]
    return Typed(chord="+".join([*names, key]))


def plain(char: str) -> Typed:
    """Return what a character outside of a sequence stands for."""
    if char in CONTROLS:
        return Typed(chord=CONTROLS[char])
    if char < " ":
        return Typed(chord=f"ctrl+{chr(ord(char) + 0x60)}")
    return Typed(text=char) if char.isprintable() else Typed(unknown=char)


def join_text(pieces: Iterator[Typed]) -> Iterator[Typed]:
    """Join neighbouring characters."""
    text = ""
    for one in pieces:
        if one.text:
            text += one.text
            continue
        if text:
            yield Typed(text=text)
            text = ""
        yield one
    if text:
        yield Typed(text=text)
