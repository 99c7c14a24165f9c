"""Who may read a page over TCP: what the locks of the service say (virtmesh.rpc.locks).

With a security folder the page is behind TLS, and scrapers show a certificate of the machine: that
of an observer suffices. Its files are read again when they change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from virtmesh_common.security.client_certificates import ClientCertificates
from virtmesh_common.security.contexts import spell_peer
from virtmesh_common.security.errors import SecurityError
from virtmesh_common.security.folder import SecurityFolder
from virtmesh_common.security.revocations import Revocations
from virtmesh_common.security.roles import find_access
from virtmesh_common.security.server_tls import ServerTls

if TYPE_CHECKING:
    import ssl
    from pathlib import Path


log = structlog.get_logger(__name__)

GET_PAGE = "/virtmesh.metrics.v1.MetricsService/GetPage"
"""Whoever may call it may scrape."""


class Guard:
    """TLS of one page. Errors: SecurityError for what is wrong with the folder."""

    def __init__(self, path: Path) -> None:
        self._folder = SecurityFolder(path)
        revocations = Revocations(self._folder)
        revocations.all()
        self._clients = ClientCertificates(self._folder, revocations)
        self._tls = ServerTls(self._folder, warn, demand_certificate=True)

    def context(self) -> ssl.SSLContext:
        """Return what the next connection is to use."""
        return self._tls.context()

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


def warn(why: str) -> None:
    """Say why files that have changed are not used."""
    log.warning("the certificate of /metrics can't be renewed", error=why)
