"""Passwords, and what VNC authentication makes of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from virtmesh_client.vnc.password import (
    VARIABLE,
    WAITING_MAX,
    PasswordGate,
    answer_challenge,
    check_password,
    read_password,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("text", ["", "123456789", "a\0b", "Ω"])
def test_a_password_that_vnc_has_no_room_for(text: str) -> None:
    """It is refused, not cut off."""
    with pytest.raises(ValueError, match="VNC"):
        check_password(text)


def test_where_a_password_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line of a file, or else the environment."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert read_password(None) is None
    monkeypatch.setenv(VARIABLE, "of env")
    assert read_password(None) == b"of env"
    file = tmp_path / "password"
    file.write_text("of file\r\nmore\n")
    assert read_password(file) == b"of file"


def test_an_answer() -> None:
    """DES with the bits of the password in reverse order: a value of FIPS 81, table B.1."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in bytes.fromhex("0123456789abcdef"))
    plain = b"Now is the time "
    wanted = bytes.fromhex("3fa40e8a984d48156a271787ab8883f9")
    assert answer_challenge(plain, key) == wanted


async def test_answers_are_judged_one_after_another() -> None:
    """However many come at once, each wrong one makes the next slower; few wait."""
    delays: list[float] = []

    async def sleep(seconds: float) -> None:
        delays.append(seconds)
        await asyncio.sleep(0)

    gate = PasswordGate(b"secret", sleep)
    challenge = bytes(16)
    assert await gate.refusal(challenge, bytes(16)) == "wrong password"
    answers = [gate.refusal(challenge, bytes(16)) for _ in range(WAITING_MAX + 2)]
    found = await asyncio.gather(*answers)
    wrong, unjudged = ["wrong password"] * WAITING_MAX, ["others try passwords: try again"] * 2
    assert found == wrong + unjudged
    right = answer_challenge(challenge, b"secret")
    assert [await gate.refusal(challenge, right) for _ in range(2)] == ["", ""]
    assert delays == [1.0, 2.0, 4.0, 8.0]


async def test_who_leaves_waits_no_more() -> None:
    """There is room for the answer of another one."""
    never = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        await never.wait()

    gate = PasswordGate(b"secret", sleep)
    challenge = bytes(16)
    assert await gate.refusal(challenge, bytes(16))
    for _ in range(2 * WAITING_MAX):
        task = asyncio.create_task(gate.refusal(challenge, bytes(16)))
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
