"""tokens.json: bearer tokens, of which only SHA-256 is kept.

A token is `vmt_ID_SECRET`: the identifier that lists show, and 192 random bits. So many need no
slow hash: nobody can try them all.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from virtmesh_common.security.errors import BadSecurityFolder, BadToken, NotIssued
from virtmesh_common.security.folder import SecurityFolder
from virtmesh_common.security.identity import Identity, IdentityKind
from virtmesh_common.security.names import KEPT_DAYS, TOKEN, check_days, check_name
from virtmesh_common.security.records import (
    ENTRIES_MAX,
    Watched,
    entries_of,
    parse_object,
    role_of,
    spell,
    spell_time,
    state_of,
    text_of,
    time_of,
)
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE = "tokens.json"
SECRET_BYTES = 24
"""192 bits."""
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Token:
    """What is kept of a token."""

    id: str
    name: str
    role: Role
    sha256: str
    expires: str
    """RFC 3339."""
    revoked: bool = False

    @property
    def identity(self) -> Identity:
        """Who calls with this token."""
        expires = datetime.fromisoformat(self.expires).timestamp()
        return Identity(self.name, self.role, IdentityKind.TOKEN, self.id, expires)

    def state(self, now: datetime | None = None) -> str:
        """Return "valid", "expired" or "revoked"."""
        return state_of(self.expires, now, revoked=self.revoked)


class Tokens:
    """The tokens of a folder, read again whenever they change. Several threads may ask.

    Errors of all methods: BadSecurityFolder while the file is missing or does not parse.
    """

    def __init__(self, folder: SecurityFolder | Path) -> None:
        self._folder = folder if isinstance(folder, SecurityFolder) else SecurityFolder(folder)
        self._file = Watched(self._folder, FILE, parse)

    def find(self, token: str, now: datetime | None = None) -> Identity:
        """Return whose token it is. Errors: BadToken: unknown, expired or revoked.

        The identifier leads to one entry; whether the secret is right takes as long for any.
        """
        match = TOKEN.fullmatch(token)
        found = self._file.get().get(match["id"]) if match else None
        expected = found.sha256 if found else "0" * 64
        if not hmac.compare_digest(digest_of(token), expected) or found is None:
            raise BadToken("the token is not one of this machine")
        state = found.state(now)
        if state != "valid":
            raise BadToken(
                f"the token {found.id} of {found.name} is {state}",
                state=state,
                identity=found.name,
                serial=found.id,
            )
        return found.identity

    def state(self, identifier: str) -> str:
        """Return "valid", "expired", "revoked", or "gone" for one that is in no list any more."""
        found = self._file.get().get(identifier)
        return found.state() if found else "gone"

    def all(self) -> list[Token]:
        """Return all tokens, in the order in which they were made."""
        return list(self._file.get().values())

    def make(
        self, name: str, role: Role, *, days: float, now: datetime | None = None
    ) -> tuple[str, Token]:
        """Make a token; return it, which nobody can do again, and what is kept of it.

        Errors: ValueError for a name or a number of days that can't be.
        """
        check_name(name)
        check_days(days)
        now = now or datetime.now(UTC)
        identifier = secrets.token_hex(6)
        text = f"vmt_{identifier}_{secrets.token_urlsafe(SECRET_BYTES)}"
        expires = spell_time(now + timedelta(days=days))
        token = Token(identifier, name, Role(role), digest_of(text), expires)
        with self._folder.locked():
            kept = {one.id: one for one in self.all() if not is_old(one, now)}
            if len(kept) >= ENTRIES_MAX:
                raise BadSecurityFolder(f"{self._folder.path} has {len(kept)} tokens already")
            self._write({**kept, identifier: token})
        return text, token

    def revoke(self, name_or_id: str) -> list[Token]:
        """Revoke a token by its identifier, or all with a name; return those that were valid.

        Errors: NotIssued if there is none.
        """
        with self._folder.locked():
            kept = dict(self._file.get())
            meant = [one for one in kept.values() if name_or_id in {one.id, one.name}]
            if not meant:
                raise NotIssued(f"there is no token {name_or_id}: `virtmesh tokens list` shows all")
            fresh = [replace(one, revoked=True) for one in meant if not one.revoked]
            if fresh:
                self._write({**kept, **{one.id: one for one in fresh}})
        return fresh

    def _write(self, tokens: Mapping[str, Token]) -> None:
        self._folder.write(FILE, spell_tokens(tokens))


def digest_of(token: str) -> str:
    """Return what is kept of the text of a token."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def is_old(token: Token, now: datetime) -> bool:
    """Say whether a token has expired so long ago that no list needs it."""
    return now > datetime.fromisoformat(token.expires) + timedelta(days=KEPT_DAYS)


def parse(data: bytes, where: str) -> dict[str, Token]:
    """Return the content of the file, by identifier. Errors: BadSecurityFolder."""
    found = {}
    for entry in entries_of(parse_object(data, where), "tokens", list, where):
        digest = text_of(entry, "sha256", where)
        if not DIGEST.fullmatch(digest) or not isinstance(entry.get("revoked"), bool):
            raise BadSecurityFolder(f"{where} has a token that makes no sense")
        token = Token(
            text_of(entry, "id", where),
            text_of(entry, "name", where),
            role_of(entry, where),
            digest,
            spell_time(time_of(entry, "expires", where)),
            entry["revoked"],
        )
        found[token.id] = token
    return found


def spell_tokens(tokens: Mapping[str, Token]) -> bytes:
    """Spell the content of the file."""
    return spell(
        {
            "tokens": [
                {
                    "id": one.id,
                    "name": one.name,
                    "role": one.role.value,
                    "sha256": one.sha256,
                    "expires": one.expires,
                    "revoked": one.revoked,
                }
                for one in tokens.values()
            ]
        }
    )
