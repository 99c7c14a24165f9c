"""Passwords, and what VNC authentication makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from virtmesh_client.vnc.password import VARIABLE, answer_challenge, check_password, read_password

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
