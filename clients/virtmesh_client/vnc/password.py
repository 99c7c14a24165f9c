"""VNC authentication (RFC 6143, 7.2.2): a challenge, encrypted by DES with the password.

It keeps strangers out, and no more: DES is weak, and what follows is not encrypted.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import time
from typing import TYPE_CHECKING

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Sleep = Callable[[float], Awaitable[object]]

CHALLENGE = 16
"""Bytes of a challenge, and of its answer."""
KEY = 8
"""Bytes of a key: the protocol has no room for longer passwords."""
VARIABLE = "VIRTMESH_VNC_PASSWORD"
FIRST_DELAY, LAST_DELAY = 1.0, 8.0
"""Seconds that an answer takes after one wrong password, and after many."""
WAITING_MAX = 3
"""Most answers that wait or are being judged: each takes LAST_DELAY at most."""
FORGIVEN_SECONDS = 60.0
"""How long after the last wrong password answers are as fast as ever."""


def check_password(text: str) -> bytes:
    """Return a password as bytes. Errors: ValueError for one that VNC has no room for."""
    try:
        password = text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("VNC has no room for characters beyond Latin-1: choose others") from None
    if not 1 <= len(password) <= KEY or b"\0" in password:
        raise ValueError(f"a VNC password has 1 to {KEY} characters, and not {len(password)}")
    return password


def read_password(file: Path | None) -> bytes | None:
    """Return the first line of a file, or else what the environment has; None without either.

    Errors: OSError; ValueError.
    """
    if file is not None:
        with file.open(encoding="utf-8") as lines:
            return check_password(lines.readline(4096).rstrip("\r\n"))
    text = os.environ.get(VARIABLE)
    return None if text is None else check_password(text)


def answer_challenge(challenge: bytes, password: bytes) -> bytes:
    """Return what who knows the password answers. Its bits are taken in reverse order."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password[:KEY].ljust(KEY, b"\0"))
    # Three times the same key is plain DES.
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()  # noqa: S305 - RFC 6143
    return encryptor.update(challenge) + encryptor.finalize()


class PasswordGate:
    """Judges answers of all viewers of a server, one after another.

    Each wrong one makes the next ones slower. Those beyond WAITING_MAX are not judged at all, so
    that one that waits is judged within the time of a handshake.
    """

    def __init__(self, password: bytes, sleep: Sleep = asyncio.sleep) -> None:
        self._password = password
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._failures = 0
        self._last_failure = 0.0

    async def refusal(self, challenge: bytes, answer: bytes) -> str:
        """Return why an answer is refused, after the time that it takes now; "" if it is right."""
        if self._waiting >= WAITING_MAX:
            return "others try passwords: try again"
        self._waiting += 1
        try:
            async with self._turn:
                return "" if await self._is_right(challenge, answer) else "wrong password"
        finally:
            self._waiting -= 1

    async def _is_right(self, challenge: bytes, answer: bytes) -> bool:
        if time.monotonic() - self._last_failure > FORGIVEN_SECONDS:
            self._failures = 0
        if self._failures:
            await self._sleep(min(FIRST_DELAY * 2.0 ** (self._failures - 1), LAST_DELAY))
        if hmac.compare_digest(answer, answer_challenge(challenge, self._password)):
            self._failures = 0
            return True
        self._failures = min(self._failures + 1, 16)
        self._last_failure = time.monotonic()
        return False
