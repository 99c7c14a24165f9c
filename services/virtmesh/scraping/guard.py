"""Who may read a page over TCP: what the locks of the service say (virtmesh.rpc.locks).

With a security folder the page is behind TLS, and scrapers show a certificate of the machine: that
of an observer suffices. Its files are read again when they change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from virtmesh_common.security.authority import CA, SERVER, SERVER_KEY
from virtmesh_common.security.certificates import read_certificate, read_key
from virtmesh_common.security.client_certificates import ClientCertificates
from virtmesh_common.security.contexts import server_context, spell_peer
from virtmesh_common.security.errors import BadCertificate, SecurityError
from virtmesh_common.security.folder import SecurityFolder
from virtmesh_common.security.revocations import Revocations
from virtmesh_common.security.roles import find_access

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from virtmesh_common.security.folder import Stamp

log = structlog.get_logger(__name__)

GET_PAGE = "/virtmesh.metrics.v1.MetricsService/GetPage"
"""Whoever may call it may scrape."""


class Guard:
    """TLS of one page. Errors: SecurityError for what is wrong with the folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = SecurityFolder(path)
        revocations = Revocations(self._folder)
        revocations.all()
        self._clients = ClientCertificates(self._folder, revocations)
        self._stamps = self._look()
        self._context = server_context(path, demand_certificate=True)

    def context(self) -> ssl.SSLContext:
        """Return what the next connection is to use."""
        stamps = self._look()
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._check_pair()
                self._context = server_context(self._path, demand_certificate=True)
            except (SecurityError, OSError) as error:
                log.warning("the certificate of /metrics can't be renewed", error=str(error))
        return self._context

    def admits(self, connection: ssl.SSLObject) -> bool:
        """Say whether the peer of a connection may scrape, for each of its requests.

        A session of TLS that is resumed is one of an old handshake: dates and authority are looked
        at here as well.
        """
        try:
            identity = self._clients.identify(spell_peer(connection))
            why = self._clients.why_not(identity)
        except SecurityError as error:
            why = str(error)
        if why:
            log.warning("a scraper is refused", why=why)
            return False
        return identity.role in find_access(GET_PAGE).roles

    def close(self) -> None:
        """Close the folder."""
        self._folder.close()

    def _check_pair(self) -> None:
        """Refuse a certificate without its key. Errors: SecurityError."""
        certificate = read_certificate(self._folder.read(SERVER))
        key = read_key(self._folder.read(SERVER_KEY, secret=True))
        if certificate.public_key() != key.public_key():
            self._stamps = ()  # One of them is about to be replaced, too.
            raise BadCertificate(f"{self._path}: {SERVER_KEY} is not the key of {SERVER}")

    def _look(self) -> tuple[Stamp | None, ...]:
        """Return what tells these versions of the files from others."""
        return tuple(self._folder.stamp(name) for name in (CA, SERVER, SERVER_KEY))
