"""Bytes of a terminal to keystrokes."""

from __future__ import annotations

import os
import random

import pytest

from virtmesh_common.input.names import parse_chord
from virtmesh_common.input.terminal_keys import SEQUENCE_MAX, TerminalKeys, Typed


def chords(data: bytes) -> list[str]:
    """Return the chords of bytes that have no text."""
    keys = TerminalKeys()
    typed = [*keys.feed(data), *keys.flush()]
    assert not any(one.text or one.unknown for one in typed), typed
    return [one.chord for one in typed]


KEYS = [
    (b"\r", "enter"),
    (b"\t", "tab"),
    (b"\x7f", "backspace"),
    (b"\x03", "ctrl+c"),
    (b"\x1a", "ctrl+z"),
    (b"\0", "ctrl+space"),
    (b"\x1b", "escape"),
    (b"\x1bx", "alt+x"),
    (b"\x1bO", "alt+O"),
    (b"\x1b[", "alt+["),
    (b"\x1b\x03", "alt+ctrl+c"),
    (b"\x1b[A", "up"),
    (b"\x1bOA", "up"),
    (b"\x1b[1;5C", "ctrl+right"),
    (b"\x1b[1;2D", "shift+left"),
    (b"\x1b[H", "home"),
    (b"\x1bOF", "end"),
    (b"\x1b[1~", "home"),
    (b"\x1b[3~", "delete"),
    (b"\x1b[3;5~", "ctrl+delete"),
    (b"\x1b[5~", "pageup"),
    (b"\x1bOP", "f1"),
    (b"\x1b[[A", "f1"),
    (b"\x1b[11~", "f1"),
    (b"\x1b[15~", "f5"),
    (b"\x1b[17~", "f6"),
    (b"\x1b[24~", "f12"),
    (b"\x1b[15;6~", "shift+ctrl+f5"),
    (b"\x1b[Z", "shift+tab"),
]


@pytest.mark.parametrize(("data", "chord"), KEYS, ids=repr)
def test_a_key_is_a_chord(data: bytes, chord: str) -> None:
    """Which the product knows, where it is no character of a layout."""
    assert chords(data) == [chord]
    names = chord.split("+")
    assert parse_chord(chord) or len(names[-1]) == 1


def test_keys_may_be_split_anywhere() -> None:
    """And stand behind one another."""
    data = b"".join(data for data, _ in KEYS if data not in {b"\x1b", b"\x1bO", b"\x1b["})
    whole = TerminalKeys().feed(data)
    for seed in range(20):
        source = random.Random(seed)  # noqa: S311 - not for secrets
        keys, parts, rest = TerminalKeys(), [], data
        while rest:
            size = source.randint(1, 4)
            parts += keys.feed(rest[:size])
            rest = rest[size:]
        assert parts == whole


def test_text_is_one_piece_and_utf_8() -> None:
    """Also where a character is split."""
    keys = TerminalKeys()
    data = "Grüße, 世界".encode()
    assert keys.feed(data) == [Typed(text="Grüße, 世界")]
    assert "".join(one.text for byte in data for one in keys.feed(bytes([byte]))) == "Grüße, 世界"


def test_a_paste_is_text_alone() -> None:
    """Whatever keys somebody has put into it; its lines end as text does."""
    keys = TerminalKeys()
    typed = keys.feed(b"\x1b[200~ls\r\x1b[A\x03rm\x1b[201~\x1b[A")
    assert typed[0] == Typed(text="ls\n\x03rm")
    assert typed[-1] == Typed(chord="up")


def test_an_unknown_sequence_is_told_and_ends() -> None:
    """The key behind it is a key again."""
    assert TerminalKeys().feed(b"\x1b[99~x\x1b[1;99Ay") == [
        Typed(unknown="[99~"),
        Typed(text="x"),
        Typed(unknown="[1;99A"),
        Typed(text="y"),
    ]


def test_garbage_is_bounded() -> None:
    """In memory and in what comes of it."""
    keys = TerminalKeys()
    keys.feed(b"\x1b[" + b"1" * 100_000)
    assert len(keys._sequence or "") <= SEQUENCE_MAX
    for _ in range(200):
        for one in keys.feed(os.urandom(64)):
            assert sum(map(bool, (one.text, one.chord, one.unknown))) == 1
            assert len(one.unknown) <= SEQUENCE_MAX
