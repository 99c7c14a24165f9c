"""What `expect` looks for, and the text it looks in.

Bytes are the truth. Text is their UTF-8, read so that every byte has its place: what is no UTF-8
becomes a lone surrogate (as Python does with file names), and a character that has not arrived as a
whole is not seen yet.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

Pattern = str | bytes | re.Pattern[str] | re.Pattern[bytes]
"""Text and bytes stand for themselves; a compiled regular expression is searched for."""
Patterns = Pattern | Sequence[Pattern]

KEPT_BYTES = 1 << 20
"""Most text without a match that is kept; the oldest goes first."""
SHOWN = 400
"""Characters of it that an error shows, the newest."""


@dataclass(frozen=True)
class Match:
    """What was found. `before` is the text since the last match, `after` what matched."""

    index: int
    """Which of the patterns."""
    pattern: Pattern
    before: bytes
    after: bytes
    groups: tuple[str | bytes | None, ...] = ()
    """Groups of a regular expression."""

    @property
    def text(self) -> str:
        """`before` as text; what is no UTF-8 is replaced."""
        return self.before.decode(errors="replace")


class Unmatched:
    """Text that no `expect` has matched and no `read` has taken."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.dropped = 0
        """Bytes that nobody wanted, dropped since more than KEPT_BYTES were there."""

    @property
    def full(self) -> bool:
        """True when it is time to search, before more is added."""
        return len(self._data) >= 2 * KEPT_BYTES

    def __len__(self) -> int:
        return len(self._data)

    def __bytes__(self) -> bytes:
        return bytes(self._data)

    def add(self, data: bytes) -> None:
        """Take what arrived."""
        self._data += data

    def trim(self) -> None:
        """Drop the oldest of what has been searched in vain."""
        excess = len(self._data) - KEPT_BYTES
        if excess > 0:
            del self._data[:excess]
            self.dropped += excess

    def take(self, size: int) -> bytes:
        """Take bytes away from the front."""
        data = bytes(self._data[:size])
        del self._data[:size]
        return data

    def find(self, patterns: Sequence[Pattern]) -> Match | None:
        """Find the match that begins first, and of several the first pattern's; take it away."""
        text = to_text(self._data) if any(needs_text(one) for one in patterns) else ""
        best: tuple[int, int, int, tuple[str | bytes | None, ...]] | None = None
        for index, pattern in enumerate(patterns):
            found = search(pattern, text, self._data)
            if found is not None and (best is None or found[0] < best[0]):
                start, end, groups = found
                best = (start, end, index, groups)
        if best is None:
            return None
        start, end, index, groups = best
        before = self.take(start)
        return Match(index, patterns[index], before, self.take(end - start), groups)

    def shown(self) -> str:
        """Spell the text for an error: escaped, its beginning cut off when it is long."""
        if not self._data:
            return "nothing"
        text = self._data[-4 * SHOWN :].decode(errors="surrogateescape")[-SHOWN:]
        cut = "..." if len(self._data) > size_of(text) else ""
        return cut + re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", repr(text))


def as_list(patterns: Patterns) -> list[Pattern]:
    """Return the patterns. Errors: ValueError when there is none, or an empty one."""
    several = [patterns] if isinstance(patterns, (str, bytes, re.Pattern)) else list(patterns)
    if not several or any(one in ("", b"") for one in several):
        raise ValueError("nothing to expect: give a text, bytes, or a regular expression")
    return several


def spell(patterns: Sequence[Pattern]) -> str:
    """Spell patterns for an error."""
    return " or ".join(
        f"/{one.pattern!r}/" if isinstance(one, re.Pattern) else repr(one) for one in patterns
    )


def needs_text(pattern: Pattern) -> bool:
    """Say whether a pattern is looked for in the text, rather than in the bytes."""
    return isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str)


def to_text(data: bytes | bytearray) -> str:
    """Return the characters that have arrived as a whole, none of the bytes lost."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
    return decoder.decode(bytes(data))


def size_of(text: str) -> int:
    """Return the bytes that a text of `to_text` stands for."""
    return len(text.encode(errors="surrogateescape"))


def search(
    pattern: Pattern, text: str, data: bytearray
) -> tuple[int, int, tuple[str | bytes | None, ...]] | None:
    """Find a pattern; returns where it begins and ends, in bytes, and its groups."""
    if isinstance(pattern, bytes):
        start = data.find(pattern)
        return None if start < 0 else (start, start + len(pattern), ())
    if isinstance(pattern, str):
        # UTF-8 of whole characters is found in bytes just where it is in the text.
        start = data.find(pattern.encode(errors="surrogateescape"))
        return None if start < 0 else (start, start + size_of(pattern), ())
    found = pattern.search(cast("Any", text if needs_text(pattern) else bytes(data)))
    if found is None:
        return None
    if not needs_text(pattern):
        return found.start(), found.end(), found.groups()
    start = size_of(text[: found.start()])
    return start, start + size_of(str(found.group())), found.groups()
