"""The files of a server's TLS in a security folder: what it shows, and whom it trusts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from virtmesh_common.security.certificates import read_certificate, read_key
from virtmesh_common.security.errors import BadCertificate

if TYPE_CHECKING:
    from virtmesh_common.security.folder import SecurityFolder, Stamp

CA, SERVER, SERVER_KEY = "ca.pem", "server.pem", "server.key"


class ServerPem(NamedTuple):
    """The content of the files, as PEM: the key is that of the certificate."""

    authority: bytes
    certificate: bytes
    key: bytes


class ServerFiles:
    """Says when the files have changed, and reads them. The folder stays the caller's to close."""

    def __init__(self, folder: SecurityFolder) -> None:
        self._folder = folder
        self._seen: tuple[Stamp | None, ...] = ()

    @property
    def has_changed(self) -> bool:
        """Say whether these are not the files that `read` has seen last."""
        return self._stamps() != self._seen

    def read(self) -> ServerPem:
        """Read the files.

        Errors: BadSecurityFolder; BadCertificate if certificate and key do not parse or fit.
        """
        self._seen = self._stamps()
        found = ServerPem(
            self._folder.read(CA),
            self._folder.read(SERVER),
            self._folder.read(SERVER_KEY, secret=True),
        )
        if read_certificate(found.certificate).public_key() != read_key(found.key).public_key():
            self._seen = ()  # One of them is about to be replaced, too.
            raise BadCertificate(f"{self._folder.path}: {SERVER_KEY} is not the key of {SERVER}")
        return found

    def _stamps(self) -> tuple[Stamp | None, ...]:
        """Return what tells these versions of the files from others."""
        return tuple(self._folder.stamp(name) for name in (CA, SERVER, SERVER_KEY))
