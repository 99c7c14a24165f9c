"""The JSON files of a security folder: parsed whole, bounded, read again when they change."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from virtmesh_common.security.errors import BadSecurityFolder
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_common.security.folder import SecurityFolder, Stamp

VERSION = 1
ENTRIES_MAX = 100_000
"""Most entries of one file."""
TEXT_MAX = 256
"""Most characters of a name, an identifier or a time."""

Content = TypeVar("Content")


class Watched(Generic[Content]):
    """A file that is parsed anew whenever it has changed. Several threads may ask.

    A file that does not parse, or is gone, is an error for whoever asks until it is whole again:
    what it had revoked must not come back.
    """

    def __init__(
        self,
        folder: SecurityFolder,
        name: str,
        parse: Callable[[bytes, str], Content],
        *,
        secret: bool = True,
    ) -> None:
        self._folder, self._name, self._parse = folder, name, parse
        self._secret = secret
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._content: Content | None = None

    def get(self) -> Content:
        """Return the content. Errors: BadSecurityFolder."""
        with self._lock:
            stamp = self._folder.stamp(self._name)
            if self._content is None or stamp is None or stamp != self._stamp:
                self._content = None
                data = self._folder.read(self._name, secret=self._secret)
                self._content = self._parse(data, str(self._folder.path / self._name))
                self._stamp = stamp  # the older one, if it changes just now: it is read once more
            return self._content


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """Return the object of a file of this version. Errors: BadSecurityFolder."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise BadSecurityFolder(f"{where} is not JSON") from None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise BadSecurityFolder(f"{where} is not of version {VERSION}")
    return content


def entries_of(
    content: dict[str, Any], key: str, kind: type[list[Any] | dict[str, Any]], where: str
) -> Any:
    """Return the list or object under a key. Errors: BadSecurityFolder."""
    found = content.get(key)
    if not isinstance(found, kind) or len(found) > ENTRIES_MAX:
        raise BadSecurityFolder(f"{where} has no {key}, or more than {ENTRIES_MAX}")
    return found


def text_of(entry: object, key: str, where: str) -> str:
    """Return a short text of an entry. Errors: BadSecurityFolder."""
    found = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(found, str) or len(found) > TEXT_MAX:
        raise BadSecurityFolder(f"{where} has an entry without {key}, or with a strange one")
    return found


def role_of(entry: object, where: str) -> Role:
    """Return the role of an entry. Errors: BadSecurityFolder."""
    try:
        return Role(text_of(entry, "role", where))
    except ValueError:
        raise BadSecurityFolder(f"{where} has an entry with a role that there is not") from None


def time_of(entry: object, key: str, where: str) -> datetime:
    """Return a time of an entry, with its zone. Errors: BadSecurityFolder."""
    try:
        found = datetime.fromisoformat(text_of(entry, key, where))
    except ValueError:
        raise BadSecurityFolder(f"{where} has an entry whose {key} is no time") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def spell_time(moment: datetime) -> str:
    """Spell a time as RFC 3339 does, in whole seconds of UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def state_of(end: str, now: datetime | None, *, revoked: bool) -> str:
    """Return "valid", "expired" or "revoked" for what is valid until `end` (RFC 3339)."""
    if revoked:
        return "revoked"
    return "valid" if (now or datetime.now(UTC)) < datetime.fromisoformat(end) else "expired"


def spell(content: dict[str, Any]) -> bytes:
    """Spell the content of a file."""
    return (json.dumps({"version": VERSION, **content}, indent=1) + "\n").encode()
