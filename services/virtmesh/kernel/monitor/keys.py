"""Bytes of a terminal to keys: UTF-8, control characters and escape sequences (ECMA-48, 5.4)."""

from __future__ import annotations

import codecs
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SEQUENCE_MAX = 32
"""Longest escape sequence, in characters. A longer one is no key: its rest is swallowed."""
ESC = "\x1b"
BEL = "\a"
"""Ends a string, as xterm has it; so does ESC, with whatever follows."""
STRINGS = frozenset("]PX^_")
"""What begins a string behind ESC (OSC, DCS, SOS, PM, APC)."""
OPENERS = STRINGS | {"[", "O"}
"""What goes on behind ESC: strings, CSI and SS3."""


class Key(Enum):
    """Keys that edit."""

    ENTER = auto()
    TAB = auto()
    BACKSPACE = auto()
    DELETE = auto()
    LEFT = auto()
    RIGHT = auto()
    UP = auto()
    DOWN = auto()
    HOME = auto()
    END = auto()
    KILL_BEFORE = auto()
    KILL_AFTER = auto()
    KILL_WORD = auto()
    CANCEL = auto()
    REDRAW = auto()


CONTROLS = {
    "\x01": Key.HOME,
    "\x02": Key.LEFT,
    "\x03": Key.CANCEL,
    "\x05": Key.END,
    "\x06": Key.RIGHT,
    "\x08": Key.BACKSPACE,
    "\t": Key.TAB,
    "\n": Key.ENTER,
    "\x0b": Key.KILL_AFTER,
    "\x0c": Key.REDRAW,
    "\r": Key.ENTER,
    "\x0e": Key.DOWN,
    "\x10": Key.UP,
    "\x15": Key.KILL_BEFORE,
    "\x17": Key.KILL_WORD,
    "\x7f": Key.BACKSPACE,
}
"""Control characters that are keys; all others mean nothing."""

SEQUENCES = {
    **{
        f"{start}{letter}": key
        for start in ("[", "O")
        for letter, key in {
            "A": Key.UP,
            "B": Key.DOWN,
            "C": Key.RIGHT,
            "D": Key.LEFT,
            "H": Key.HOME,
            "F": Key.END,
        }.items()
    },
    **{
        f"[{number}~": key
        for number, key in {
            1: Key.HOME,
            3: Key.DELETE,
            4: Key.END,
            7: Key.HOME,
            8: Key.END,
        }.items()
    },
}
"""What follows ESC, as xterm, the Linux console and rxvt send it."""


class KeyReader:
    """Turns bytes into keys: a `Key`, or a printable character."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._sequence: str | None = None
        self._after_return = False

    def feed(self, byte: int) -> Iterator[Key | str]:
        """Take a byte; yield the keys that it completes: two where it ends what is no UTF-8."""
        for character in self._decoder.decode(bytes((byte,))):
            key = self._take(character)
            if key is not None:
                yield key

    def finish_return(self, following: bytes) -> int:
        """Take the LF of a CR LF, where the byte that follows is one; return how many were taken.

        So it is not mistaken for the first byte of what follows the line.
        """
        taken = self._after_return and following == b"\n"
        self._after_return &= not taken
        return int(taken)

    def _take(self, character: str) -> Key | str | None:
        """Take a character."""
        after_return, self._after_return = self._after_return, character == "\r"
        if character == ESC:
            self._sequence = ""
            return None
        if self._sequence is not None:
            return self._take_in_sequence(character)
        if character == "\n" and after_return:
            return None  # the second half of CR LF
        if character in CONTROLS:
            return CONTROLS[character]
        return character if character.isprintable() else None

    def _take_in_sequence(self, character: str) -> Key | None:
        """Take a character behind ESC."""
        if character in {"\x03", "\r", "\n"}:  # nobody may be kept from cancelling, or going on
            self._sequence = None
            return CONTROLS[character]
        before = self._sequence or ""
        sequence = before + character
        if sequence in OPENERS:
            self._sequence = sequence
            return None
        if before in STRINGS and character != BEL:
            return None  # the title of a window, or the like
        if before.startswith("[") and "\x20" <= character <= "\x3f":
            if len(sequence) < SEQUENCE_MAX:
                self._sequence = sequence
            return None
        self._sequence = None
        return SEQUENCES.get(sequence)
