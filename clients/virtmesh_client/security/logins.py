"""What `virtmesh login` stores: a file for each address, in the user's folder for configuration.

Files are closed to others (mode 0600, in a folder with 0700), replaced whole, and hold keys.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from virtmesh_client.security.credentials import Credentials, read_bounded
from virtmesh_common.security.errors import BadCertificate, BadLogin

VERSION = 1
FOLDER_MODE, FILE_MODE = 0o700, 0o600
SUFFIX = ".json"
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""Windows has none."""


@dataclass(frozen=True)
class Login:
    """Credentials for one address."""

    address: str
    credentials: Credentials
    file: Path


def folder() -> Path:
    """Return where logins are stored: $XDG_CONFIG_HOME/virtmesh/logins on Linux."""
    import platformdirs  # noqa: PLC0415 - it takes time

    return Path(platformdirs.user_config_dir("virtmesh", appauthor=False)) / "logins"


def file_of(address: str) -> Path:
    """Return the file for an address."""
    return folder() / (quote(spell(address), safe="") + SUFFIX)


def spell(address: str) -> str:
    """Spell an address so that it is found again."""
    return address.lower()


def find(address: str) -> Credentials | None:
    """Return what is stored for an address; None if nothing is. Errors: BadLogin."""
    file = file_of(address)
    return load(file).credentials if os.path.lexists(file) else None


def every() -> list[Login]:
    """Return all that is stored, sorted by address. Errors: BadLogin."""
    try:
        files = sorted(folder().glob(f"*{SUFFIX}"))
    except OSError as error:
        raise BadLogin(f"{folder()} can't be read: {error.strerror}") from None
    return sorted((load(file) for file in files), key=lambda one: one.address)


def store(address: str, credentials: Credentials) -> Path:
    """Store credentials in the place of what was stored; return the file. Errors: OSError."""
    file = file_of(address)
    file.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    check_private(file.parent.lstat(), file.parent)
    content = {"version": VERSION, "address": spell(address), **asdict(credentials)}
    scratch = file.with_name(f".{secrets.token_hex(8)}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW
    descriptor = os.open(scratch, flags, FILE_MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as text:
            json.dump(content, text, indent=1)
        scratch.replace(file)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    return file


def remove(address: str) -> bool:
    """Forget what is stored for an address; say whether there was anything. Errors: OSError."""
    file = file_of(address)
    there = os.path.lexists(file)
    file.unlink(missing_ok=True)
    return there


def load(file: Path) -> Login:
    """Read a file. Errors: BadLogin if it is open to others, or does not parse."""
    try:
        check_private(file.lstat(), file)
        content: Any = json.loads(read_bounded(file))
        address = content.pop("address")
        known = {one.name for one in fields(Credentials)}
        if content.pop("version") != VERSION or set(content) != known:
            raise BadLogin(f"{file} is of another version: log in again")
        credentials = Credentials(**content)
        if not all(isinstance(one, str) for one in (address, *content.values())):
            raise BadLogin(f"{file} makes no sense: log in again")
    except OSError as error:
        raise BadLogin(f"{file} can't be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadCertificate):
        raise BadLogin(f"{file} does not parse: log in again") from None
    return Login(address, credentials, file)


def check_private(found: os.stat_result, path: Path) -> None:
    """Refuse what others could read, or have put there. Errors: BadLogin."""
    if stat.S_ISLNK(found.st_mode):
        raise BadLogin(f"{path} is a symbolic link: remove it, and log in again")
    if os.name != "posix":
        return
    if found.st_uid != os.geteuid():
        raise BadLogin(f"{path} belongs to user {found.st_uid}: remove it, and log in again")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadLogin(f"others may read {path}: chmod go= {path}")
