"""TLS of a server by Python's own ssl whose files are read again when they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.security.authority import CA, SERVER, SERVER_KEY
from virtmesh_common.security.certificates import hosts_of, read_certificate, read_key
from virtmesh_common.security.contexts import server_context
from virtmesh_common.security.errors import BadCertificate, SecurityError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from virtmesh_common.security.folder import SecurityFolder, Stamp


class ServerTls:
    """What the next connection is to use. The folder stays the caller's to close.

    `warn` is told why files that have changed can't be used: those from before stay in use.
    Errors: SecurityError for files that are wrong at the start.
    """

    def __init__(
        self, folder: SecurityFolder, warn: Callable[[str], None], *, demand_certificate: bool
    ) -> None:
        self._folder = folder
        self._warn = warn
        self._demand = demand_certificate
        self._stamps = self._look()
        self._context, self._hosts = self._read()

    def context(self) -> ssl.SSLContext:
        """Return the context."""
        self._refresh()
        return self._context

    def hosts(self) -> tuple[str, ...]:
        """Return the names and addresses that the certificate has."""
        self._refresh()
        return self._hosts

    def _refresh(self) -> None:
        """Read the files if they have changed."""
        stamps = self._look()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._context, self._hosts = self._read()
        except (SecurityError, OSError) as error:
            self._warn(str(error))

    def _read(self) -> tuple[ssl.SSLContext, tuple[str, ...]]:
        """Read the files. Errors: SecurityError; OSError."""
        certificate = read_certificate(self._folder.read(SERVER))
        key = read_key(self._folder.read(SERVER_KEY, secret=True))
        if certificate.public_key() != key.public_key():
            self._stamps = ()  # One of them is about to be replaced, too.
            raise BadCertificate(f"{self._folder.path}: {SERVER_KEY} is not the key of {SERVER}")
        context = server_context(self._folder.path, demand_certificate=self._demand)
        return context, hosts_of(certificate)

    def _look(self) -> tuple[Stamp | None, ...]:
        """Return what tells these versions of the files from others."""
        return tuple(self._folder.stamp(name) for name in (CA, SERVER, SERVER_KEY))
