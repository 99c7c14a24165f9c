"""Tokens: only their hash is kept; they expire, are revoked, and are known without a restart."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from virtmesh_common.security.authority import Authority
from virtmesh_common.security.errors import BadSecurityFolder, BadToken, NotIssued
from virtmesh_common.security.identity import IdentityKind
from virtmesh_common.security.roles import Role
from virtmesh_common.security.tokens import FILE, Tokens


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with an authority."""
    path = tmp_path / "security"
    Authority.create(path).close()
    return path


def test_a_token_is_found_by_who_only_looks(folder: Path) -> None:
    """It was made after they had opened the folder."""
    watcher = Tokens(folder)
    assert watcher.all() == []

    text, token = Tokens(folder).make("ci", Role.OPERATOR, days=30)

    identity = watcher.find(text)
    assert (identity.name, identity.role, identity.kind) == (
        "ci",
        Role.OPERATOR,
        IdentityKind.TOKEN,
    )
    assert identity.serial == token.id
    assert identity.expires == datetime.fromisoformat(token.expires).timestamp()


def test_the_text_of_a_token_is_kept_nowhere(folder: Path) -> None:
    """Nor its secret."""
    text, token = Tokens(folder).make("ci", Role.OPERATOR, days=30)
    secret = text.removeprefix(f"vmt_{token.id}_")

    assert len(secret) == 32
    assert all(secret.encode() not in path.read_bytes() for path in folder.iterdir())


def test_an_expired_token_is_refused(folder: Path) -> None:
    """With what is wrong: who has its text was let in once."""
    tokens = Tokens(folder)
    text, _ = tokens.make("ci", Role.OPERATOR, days=1)

    with pytest.raises(BadToken, match="expired"):
        tokens.find(text, now=datetime.now(UTC) + timedelta(days=1, seconds=1))


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_revoked_token_is_refused(folder: Path, by: str) -> None:
    """By name or identifier, at once, and others are not."""
    watcher, tokens = Tokens(folder), Tokens(folder)
    text, token = tokens.make("ci", Role.OPERATOR, days=1)
    other, _ = tokens.make("other", Role.OPERATOR, days=1)
    assert watcher.find(text).name == "ci"

    assert [one.id for one in tokens.revoke(getattr(token, by))] == [token.id]

    with pytest.raises(BadToken, match="revoked"):
        watcher.find(text)
    assert watcher.find(other).name == "other"
    assert tokens.revoke(token.id) == []
    with pytest.raises(NotIssued):
        tokens.revoke("nobody")


def test_other_texts_are_no_tokens(folder: Path) -> None:
    """One of another machine, one that is almost right, and anything else."""
    tokens = Tokens(folder)
    text, token = tokens.make("ci", Role.OPERATOR, days=1)
    wrong = ["", "vmt_", text[:-1], text + "x", text[:-1] + ("A" if text[-1] != "A" else "B"),
             text.replace(token.id, "0" * 12), text.upper(), "\ud800", "x" * 100_000]  # fmt: skip

    for one in wrong:
        with pytest.raises(BadToken, match="not one of this machine"):
            tokens.find(one)


@pytest.mark.parametrize(
    "change",
    [
        {"role": "god"},
        {"sha256": "abc"},
        {"expires": "soon"},
        {"revoked": "no"},
        {"name": None},
    ],
)
def test_a_file_with_a_strange_token_lets_nobody_in(
    folder: Path, change: dict[str, object]
) -> None:
    """Until it is mended."""
    tokens = Tokens(folder)
    text, _ = tokens.make("ci", Role.OPERATOR, days=1)
    content = json.loads((folder / FILE).read_text())
    content["tokens"][0].update(change)

    (folder / FILE).write_text(json.dumps(content))

    with pytest.raises(BadSecurityFolder, match=FILE):
        tokens.find(text)


def test_old_tokens_leave_the_list(folder: Path) -> None:
    """When another is made, long after they have expired."""
    tokens = Tokens(folder)
    tokens.make("ci", Role.OPERATOR, days=1, now=datetime.now(UTC) - timedelta(days=100))
    assert len(tokens.all()) == 1

    _, fresh = tokens.make("ci", Role.OPERATOR, days=1)

    assert tokens.all() == [fresh]
