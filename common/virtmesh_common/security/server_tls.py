"""TLS of a server by Python's own ssl whose files are read again when they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.security.certificates import hosts_of, read_certificate
from virtmesh_common.security.contexts import server_context
from virtmesh_common.security.errors import SecurityError
from virtmesh_common.security.server_files import ServerFiles

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from virtmesh_common.security.folder import SecurityFolder


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
        self._files = ServerFiles(folder)
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
        if not self._files.has_changed:
            return
        try:
            self._context, self._hosts = self._read()
        except (SecurityError, OSError) as error:
            self._warn(str(error))

    def _read(self) -> tuple[ssl.SSLContext, tuple[str, ...]]:
        """Read the files. Errors: SecurityError; OSError."""
        certificate = read_certificate(self._files.read().certificate)
        context = server_context(self._folder.path, demand_certificate=self._demand)
        return context, hosts_of(certificate)
