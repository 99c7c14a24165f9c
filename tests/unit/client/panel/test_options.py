"""Where a panel may listen, and which tokens it takes."""

from __future__ import annotations

import pytest

from virtmesh_client.panel.options import check_token, make_token, parse_listen, spell_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("localhost:0", ("127.0.0.1", 0)),
        ("[::1]:8080", ("::1", 8080)),
    ],
)
def test_addresses_of_the_loopback(text: str, expected: tuple[str, int]) -> None:
    """They are taken."""
    assert parse_listen(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.0.0.0:8080", "add --security DIR"),
        ("192.168.0.1:8080", "can be reached from other hosts"),
        ("[::]:80", "can be reached from other hosts"),
        ("8080", "write HOST:PORT"),
        ("127.0.0.1:70000", "write HOST:PORT"),
        ("::1:8080", "write HOST:PORT"),
        ("panel.example:8080", "is no IP address"),
    ],
)
def test_other_addresses_are_refused(text: str, words: str) -> None:
    """The error says what to write."""
    with pytest.raises(ValueError, match=words):
        parse_listen(text)


def test_a_published_address_is_taken_at_its_word() -> None:
    """That of a container, whose port is published on the loopback."""
    assert parse_listen("0.0.0.0:8080", published=True) == ("0.0.0.0", 8080)  # noqa: S104


def test_tokens() -> None:
    """Those that are made are taken; short ones and those with other characters are not."""
    assert check_token(make_token())
    assert make_token() != make_token()
    for bad in ("short", "a b" * 10, "x" * 200, "ä" * 20):
        with pytest.raises(ValueError, match="16 to 128"):
            check_token(bad)


def test_an_address_has_the_token_in_its_fragment() -> None:
    """A fragment never leaves the browser."""
    assert spell_url("127.0.0.1", 80, "x") == "http://127.0.0.1:80/#token=x"
    assert spell_url("::1", 80) == "http://[::1]:80/"
