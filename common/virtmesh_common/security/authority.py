"""The authority of one machine: it makes the certificates of the machine and of its clients.

Files of its folder: ca.pem and ca.key are its own, server.pem and server.key those of listeners,
issued.json says what was issued, revoked.json and tokens.json what counts. The private key of the
server stays when its certificate is renewed: certificate and key fit at any moment.

ca.key lies in a folder of its own, beside that folder or elsewhere: services read all of theirs,
and have no use for it. One that an older version has left among the rest is moved by `ensure`.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from virtmesh_common.security import revocations, tokens
from virtmesh_common.security.bundle import Bundle
from virtmesh_common.security.certificates import (
    Issuer,
    hosts_of,
    make_key,
    read_certificate,
    read_key,
    spell_certificate,
    spell_key,
    spell_serial,
)
from virtmesh_common.security.client_certificates import ClientCertificates
from virtmesh_common.security.client_certificates import parse as parse_authorities
from virtmesh_common.security.errors import (
    BadCertificate,
    BadSecurityFolder,
    NoAuthority,
    NotIssued,
)
from virtmesh_common.security.folder import SecurityFolder
from virtmesh_common.security.names import CLIENT_DAYS, KEPT_DAYS, check_days, check_name
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
from virtmesh_common.security.revocations import Revocations, Revoked
from virtmesh_common.security.roles import Role
from virtmesh_common.security.server_files import CA, SERVER, SERVER_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CA_KEY = "ca.key"
ISSUED = "issued.json"
CLIENTS = "clients"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
"""By these names every server is reached."""
CA_DAYS = 3650
SERVER_DAYS = 820
"""Some browsers take no certificate of a server that is valid for more than 825 days."""
RENEWED_DAYS = 270
"""`ensure` renews the certificate of the server when so many days or less are left."""


@dataclass(frozen=True)
class Issued:
    """A certificate that was issued to a client."""

    serial: str
    name: str
    role: Role
    not_after: str
    """RFC 3339."""

    def state(self, revoked: Iterable[str], now: datetime | None = None) -> str:
        """Return "valid", "expired" or "revoked"."""
        return state_of(self.not_after, now, revoked=self.serial in revoked)


class Authority:
    """The authority of an open folder. Close it, or use it in a `with`.

    Errors of all methods: BadSecurityFolder, BadCertificate for files that are not as they must be.
    """

    def __init__(self, folder: SecurityFolder, key_folder: Path | None = None) -> None:
        self.folder = folder
        self._key_folder = key_folder
        """Where somebody says that ca.key is; None: where it is usual."""
        self.revocations = Revocations(folder)
        self.tokens = tokens.Tokens(folder)
        self._issued = Watched(folder, ISSUED, parse)

    @classmethod
    def open(cls, path: Path, key_folder: Path | None = None) -> Self:
        """Open what `ensure` has made. Errors: NoAuthority."""
        folder = SecurityFolder(path)
        if not folder.has(CA):
            folder.close()
            raise NoAuthority(f"{path} has no {CA}: `virtmesh certs init` makes an authority there")
        return cls(folder, key_folder)

    @classmethod
    def create(cls, path: Path, hosts: Iterable[str] = ()) -> Self:
        """Make an authority in a folder that has none. Errors: BadSecurityFolder if it has one."""
        with SecurityFolder.make(path) as folder:
            if folder.has(CA):
                raise BadSecurityFolder(f"{path} has an authority already")
        return cls.ensure(path, hosts)

    @classmethod
    def ensure(
        cls,
        path: Path,
        hosts: Iterable[str] = (),
        *,
        key_folder: Path | None = None,
        now: datetime | None = None,
    ) -> Self:
        """Make what is missing in a folder; several processes may do so at once.

        The server's certificate is made anew when a host is missing in it, or little of its time
        is left. `hosts` are names and addresses by which others reach the machine. `key_folder` has
        the key of the authority; None: `usual_key_folder`.
        Errors: ValueError for one that can't be; NoAuthority if it takes the key of the authority,
        and that is not there.
        """
        folder = SecurityFolder.make(path)
        try:
            authority = cls(folder, key_folder)
            with folder.locked():
                authority._complete(tuple(hosts), now or datetime.now(UTC))
        except BaseException:
            folder.close()
            raise
        return authority

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder."""
        self.folder.close()

    @property
    def certificate(self) -> str:
        """The certificate of the authority, as PEM: what clients trust."""
        return spell_certificate(read_certificate(self.folder.read(CA))).decode()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names and addresses by which the server may be reached."""
        return hosts_of(read_certificate(self.folder.read(SERVER)))

    @property
    def server_not_after(self) -> str:
        """Until when the certificate of the server is valid (RFC 3339)."""
        return spell_time(read_certificate(self.folder.read(SERVER)).not_valid_after_utc)

    def issue(
        self, name: str, role: Role, days: float = CLIENT_DAYS, *, now: datetime | None = None
    ) -> tuple[Issued, Bundle]:
        """Issue a certificate to a client: what is registered, and what the client gets.

        A name may have several. Errors: ValueError for a name or days that can't be; NoAuthority.
        """
        check_name(name)
        check_days(days)
        now, role = now or datetime.now(UTC), Role(role)
        issuer = self._issuer()
        end = issuer.certificate.not_valid_after_utc
        days = min(days, (end - now) / timedelta(days=1))
        if days <= 0:
            raise NoAuthority(f"the authority in {self.folder.path} has expired: make a new folder")
        key = make_key()
        certificate = issuer.client(key.public_key(), name, role, days, now)
        record = Issued(
            spell_serial(certificate), name, role, spell_time(certificate.not_valid_after_utc)
        )
        with self.folder.locked():
            self._register(record, now)
        texts = (
            spell_key(key),
            spell_certificate(certificate),
            spell_certificate(issuer.certificate),
        )
        return record, Bundle(*(text.decode() for text in texts))

    def check(self, pem: bytes, days: float = 0) -> Issued:
        """Return whose a client certificate is, if it counts, and does so for `days` more.

        Errors: BadCertificate, which says why it does not.
        """
        known = ClientCertificates(self.folder, self.revocations)
        who = known.identify(pem)
        end = read_certificate(pem).not_valid_after_utc
        why = known.why_not(who)
        if not why and end - datetime.now(UTC) < timedelta(days=days):
            why = f"is valid until {spell_time(end)}, which is in less than {days:g} days"
        if why:
            raise BadCertificate(f"the certificate {who.serial} of {who.name} {why}")
        return Issued(who.serial, who.name, who.role, spell_time(end))

    def issued(self) -> list[Issued]:
        """Return what was issued, in order; what has expired long ago is left out."""
        return list(self._issued.get().values())

    def revoke(self, name_or_serial: str) -> list[Issued]:
        """Revoke a certificate by its serial number, or all with a name; return the fresh ones.

        Services know at their next call. Errors: NotIssued if there is none.
        """
        at = spell_time(datetime.now(UTC))
        with self.folder.locked():
            revoked = dict(self.revocations.all())
            serial = name_or_serial.lower().removeprefix("0x").lstrip("0")
            meant = [
                one for one in self.issued() if name_or_serial == one.name or serial == one.serial
            ]
            if not meant:
                raise NotIssued(
                    f"nothing was issued to {name_or_serial}: see `virtmesh certs list`"
                )
            fresh = [one for one in meant if one.serial not in revoked]
            revoked.update({one.serial: Revoked(one.name, at) for one in fresh})
            if fresh:
                self.folder.write(revocations.FILE, revocations.spell_revoked(revoked))
        return fresh

    @property
    def key_folder(self) -> Path:
        """The folder that has the key of the authority, or should have it."""
        wanted = self._key_folder or usual_key_folder(self.folder.path)
        places = (wanted, self.folder.path)
        return next((one for one in places if os.path.lexists(one / CA_KEY)), wanted)

    def _issuer(self) -> Issuer:
        place = self.key_folder
        if not os.path.lexists(place / CA_KEY):
            raise NoAuthority(
                f"{place} has no {CA_KEY}: issue where the key of the authority is kept"
            )
        with SecurityFolder(place) as folder:
            key = read_key(folder.read(CA_KEY, secret=True))
        where = str(self.folder.path / CA)
        known = parse_authorities(self.folder.read(CA), where).values()
        ours = next((one for one in known if one.public_key() == key.public_key()), None)
        if ours is None:
            raise BadSecurityFolder(
                f"{place / CA_KEY} is the key of another authority than {where}: say by"
                " --authority which folder has its key"
            )
        return Issuer(ours, key)

    def _make_key_folder(self) -> SecurityFolder:
        """Open the folder for the key, which is made; or the folder of all where none can be."""
        wanted = self._key_folder or usual_key_folder(self.folder.path)
        try:
            return SecurityFolder.make(wanted)
        except BadSecurityFolder:
            if self._key_folder is not None or os.path.lexists(wanted):
                raise
            return SecurityFolder(self.folder.path)

    def _write_key(self, place: SecurityFolder, key: bytes) -> None:
        known = self._key_folder is not None and place.has(CA_KEY)
        if known and place.read(CA_KEY, secret=True) != key:
            raise BadSecurityFolder(f"{place.path} has the {CA_KEY} of another authority")
        place.write(CA_KEY, key)

    def _move_key(self) -> None:
        """Take the key out of the folder that services read, in the lock."""
        key = self.folder.read(CA_KEY, secret=True)
        with self._make_key_folder() as place:
            if place.path != self.folder.path:
                self._write_key(place, key)
                self.folder.remove(CA_KEY)

    def _complete(self, hosts: tuple[str, ...], now: datetime) -> None:
        """Make the files that are missing, in the lock. What names the rest, ca.pem, is last."""
        write = self.folder.write
        for name, empty in EMPTY.items():
            if not self.folder.has(name):
                if self.folder.has(CA):  # What was revoked must not count again.
                    raise self._lost(name)
                write(name, empty)
        if self.folder.has(CA) and self.folder.has(CA_KEY):
            self._move_key()
        if not self.folder.has(CA):
            if self.issued() or self.tokens.all() or self.revocations.all():
                raise self._lost(CA)  # Who was let in would be a stranger to another authority.
            issuer = Issuer.make(f"virtmesh authority of {socket.gethostname()}"[:64], CA_DAYS, now)
            with self._make_key_folder() as place:
                self._write_key(place, spell_key(issuer.key))
            self._renew(issuer, hosts, now)
            write(CA, spell_certificate(issuer.certificate))
        elif self._needs_server(hosts, now):
            known = self.hosts if self.folder.has(SERVER) else ()
            self._renew(self._issuer(), (*known, *hosts), now)

    def _lost(self, name: str) -> BadSecurityFolder:
        return BadSecurityFolder(
            f"{self.folder.path} has lost its {name}: put it back, or make another folder, with"
            " certificates and tokens of its own"
        )

    def _needs_server(self, hosts: tuple[str, ...], now: datetime) -> bool:
        if not self.folder.has(SERVER) or not self.folder.has(SERVER_KEY):
            return True
        left = read_certificate(self.folder.read(SERVER)).not_valid_after_utc - now
        return left < timedelta(days=RENEWED_DAYS) or not set(hosts) <= set(self.hosts)

    def _renew(self, issuer: Issuer, hosts: tuple[str, ...], now: datetime) -> None:
        if self.folder.has(SERVER_KEY):
            key = read_key(self.folder.read(SERVER_KEY, secret=True))
        else:
            key = make_key()
        every = sorted(dict.fromkeys((*LOCAL_HOSTS, *hosts)), key=is_ipv6)
        certificate = issuer.server(key.public_key(), every, SERVER_DAYS, now)
        self.folder.write(SERVER_KEY, spell_key(key))
        self.folder.write(SERVER, spell_certificate(certificate))

    def _register(self, record: Issued, now: datetime) -> None:
        since = now - timedelta(days=KEPT_DAYS)
        kept = {
            one.serial: one
            for one in self.issued()
            if datetime.fromisoformat(one.not_after) > since
        }
        if len(kept) >= ENTRIES_MAX:
            raise BadSecurityFolder(f"{self.folder.path} has issued {len(kept)} certificates")
        self.folder.write(ISSUED, spell_issued({**kept, record.serial: record}))


def is_ipv6(host: str) -> bool:
    """Say whether a host is an IPv6 address. These are the last of a certificate.

    socat compares in their order. At such an address it asks for one of the machine's name, and
    gives up where there is none.
    """
    return ":" in host


def usual_key_folder(path: Path) -> Path:
    """Return where the key of a folder's authority is, unless somebody says otherwise."""
    return path.with_name(f"{path.name}.authority")


def parse(data: bytes, where: str) -> dict[str, Issued]:
    """Return the content of issued.json, by serial number. Errors: BadSecurityFolder."""
    entries = entries_of(parse_object(data, where), "certificates", list, where)
    found = [
        Issued(
            text_of(one, "serial", where),
            text_of(one, "name", where),
            role_of(one, where),
            spell_time(time_of(one, "not_after", where)),
        )
        for one in entries
    ]
    return {one.serial: one for one in found}


def spell_issued(issued: Mapping[str, Issued]) -> bytes:
    """Spell the content of issued.json."""
    entries: list[dict[str, Any]] = [
        {"serial": one.serial, "name": one.name, "role": one.role.value, "not_after": one.not_after}
        for one in issued.values()
    ]
    return spell({"certificates": entries})


EMPTY = {
    ISSUED: spell_issued({}),
    revocations.FILE: revocations.spell_revoked({}),
    tokens.FILE: tokens.spell_tokens({}),
}
"""Files that a new folder begins with."""
