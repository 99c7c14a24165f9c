"""The patterns of `expect`, and the received text that they search.

The text is kept as bytes. A text pattern searches its UTF-8 decoding, in which no byte gets lost: a
byte that is not valid UTF-8 becomes a lone surrogate, as in Python's file names. An incomplete
character at the end is left out.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

Pattern = str | bytes | re.Pattern[str] | re.Pattern[bytes]
"""Text and bytes match literally. A compiled regular expression is searched for."""
Patterns = Pattern | Sequence[Pattern]

KEPT_BYTES = 1 << 20
"""Limit for text without a match. The oldest text is dropped first."""
SHOWN = 400
"""Number of characters at the end of the text that an error shows."""


@dataclass(frozen=True)
class Match:
    """Result of `expect`.

    Example:
        with virtmesh_client.connect() as machine, machine.serial() as serial:
            serial.send_line("help")
            match = serial.expect("virtmesh> ")
        assert match.after == b"virtmesh> "
    """

    index: int
    """Index of the pattern that matched."""
    pattern: Pattern
    """The pattern that matched."""
    before: bytes
    """Output since the last match, up to this one."""
    after: bytes
    """The bytes that matched."""
    groups: tuple[str | bytes | None, ...] = ()
    """Groups of a regular expression."""

    @property
    def text(self) -> str:
        """`before` as text. Invalid UTF-8 is replaced by U+FFFD."""
        return self.before.decode(errors="replace")


class UnmatchedText:
    """Output that neither `expect` nor `read` has taken."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.dropped = 0
        """Bytes that were dropped because there were more than KEPT_BYTES."""

    @property
    def full(self) -> bool:
        """True when the text must be searched before more is added."""
        return len(self._data) >= 2 * KEPT_BYTES

    def __len__(self) -> int:
        return len(self._data)

    def __bytes__(self) -> bytes:
        return bytes(self._data)

    def add(self, data: bytes) -> None:
        """Add output that arrived."""
        self._data += data

    def trim(self) -> None:
        """Drop the oldest text beyond KEPT_BYTES. The caller has searched it."""
        excess = len(self._data) - KEPT_BYTES
        if excess > 0:
            del self._data[:excess]
            self.dropped += excess

    def take(self, size: int) -> bytes:
        """Remove and return bytes from the front."""
        data = bytes(self._data[:size])
        del self._data[:size]
        return data

    def find(self, patterns: Sequence[Pattern]) -> Match | None:
        """Find the match that begins first, and remove the text up to its end.

        If several patterns match at the same place, the first of them wins.
        """
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
        """Return the text for an error: escaped, and without its beginning if it is long."""
        if not self._data:
            return "nothing"
        text = self._data[-4 * SHOWN :].decode(errors="surrogateescape")[-SHOWN:]
        cut = "..." if len(self._data) > size_of(text) else ""
        return cut + re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", repr(text))


def as_list(patterns: Patterns) -> list[Pattern]:
    """Return the patterns as a list. Errors: ValueError if there is none, or one is empty."""
    several = [patterns] if isinstance(patterns, (str, bytes, re.Pattern)) else list(patterns)
    if not several or any(one in ("", b"") for one in several):
        raise ValueError(
            f"can't expect {patterns!r}: give a text or bytes that are not empty, or a compiled"
            " regular expression"
        )
    return several


def spell(patterns: Sequence[Pattern]) -> str:
    """Return the patterns as text for an error."""
    return " or ".join(
        f"/{one.pattern!r}/" if isinstance(one, re.Pattern) else repr(one) for one in patterns
    )


def needs_text(pattern: Pattern) -> bool:
    """Return whether a pattern searches decoded text, not bytes."""
    return isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str)


def to_text(data: bytes | bytearray) -> str:
    """Decode UTF-8. Invalid bytes become surrogates; an incomplete last character is left out."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
    return decoder.decode(bytes(data))


def size_of(text: str) -> int:
    """Return the number of bytes that a text of `to_text` was decoded from."""
    return len(text.encode(errors="surrogateescape"))


def search(
    pattern: Pattern, text: str, data: bytearray
) -> tuple[int, int, tuple[str | bytes | None, ...]] | None:
    """Find a pattern. Returns start and end in bytes, and the groups; None without a match."""
    if isinstance(pattern, bytes):
        start = data.find(pattern)
        return None if start < 0 else (start, start + len(pattern), ())
    if isinstance(pattern, str):
        # The UTF-8 of whole characters is found in the bytes exactly where the text has it.
        start = data.find(pattern.encode(errors="surrogateescape"))
        return None if start < 0 else (start, start + size_of(pattern), ())
    found = pattern.search(cast("Any", text if needs_text(pattern) else bytes(data)))
    if found is None:
        return None
    if not needs_text(pattern):
        return found.start(), found.end(), found.groups()
    start = size_of(text[: found.start()])
    return start, start + size_of(str(found.group())), found.groups()
