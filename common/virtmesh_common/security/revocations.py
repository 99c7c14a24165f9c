"""revoked.json: the serial numbers of certificates that count no more."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.security.errors import BadSecurityFolder
from virtmesh_common.security.folder import SecurityFolder
from virtmesh_common.security.records import (
    Watched,
    entries_of,
    parse_object,
    spell,
    text_of,
    time_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE = "revoked.json"
SERIAL = re.compile(r"[0-9a-f]{1,40}")
"""A serial number as we spell it: hexadecimal, at most 20 bytes (RFC 5280, 4.1.2.2)."""


@dataclass(frozen=True)
class Revoked:
    """A certificate that counts no more."""

    name: str
    at: str
    """When that was said (RFC 3339)."""


class Revocations:
    """What was revoked in a folder, read again whenever it changes. Several threads may ask.

    Errors of its methods: BadSecurityFolder while the file is missing or does not parse. Then
    nobody can tell what was revoked, so nobody may be let in.
    """

    def __init__(self, folder: SecurityFolder | Path) -> None:
        opened = folder if isinstance(folder, SecurityFolder) else SecurityFolder(folder)
        self._file = Watched(opened, FILE, parse)

    def is_revoked(self, serial: str) -> bool:
        """Say whether a certificate, by its serial number in hexadecimal, counts no more."""
        return serial.lower().lstrip("0") in self._file.get()

    def all(self) -> Mapping[str, Revoked]:
        """Return what was revoked, by serial number."""
        return self._file.get()


def parse(data: bytes, where: str) -> dict[str, Revoked]:
    """Return the content of the file. Errors: BadSecurityFolder."""
    serials = entries_of(parse_object(data, where), "serials", dict, where)
    found = {}
    for serial, entry in serials.items():
        if not SERIAL.fullmatch(serial):
            raise BadSecurityFolder(f"{where} has a serial number that is none")
        time_of(entry, "at", where)
        found[serial.lstrip("0")] = Revoked(
            text_of(entry, "name", where), text_of(entry, "at", where)
        )
    return found


def spell_revoked(revoked: Mapping[str, Revoked]) -> bytes:
    """Spell the content of the file."""
    return spell(
        {"serials": {serial: {"name": one.name, "at": one.at} for serial, one in revoked.items()}}
    )
