"""The TLS side of a server: its certificate and authority, read again when the files change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import structlog

from virtmesh_common.security.certificates import read_certificate, read_key
from virtmesh_common.security.client_certificates import ClientCertificates
from virtmesh_common.security.errors import BadCertificate, NoAuthority, SecurityError
from virtmesh_common.security.folder import SecurityFolder
from virtmesh_common.security.revocations import Revocations
from virtmesh_common.security.tokens import Tokens

if TYPE_CHECKING:
    from pathlib import Path

    from virtmesh_common.security.folder import Stamp

log = structlog.get_logger(__name__)

AUTHORITY_KEY = "ca.key"
AUTHORITY, CERTIFICATE, KEY = "ca.pem", "server.pem", "server.key"


class Credentials:
    """What a server takes from its security folder. Errors: SecurityError."""

    def __init__(self, path: Path) -> None:
        self._folder = SecurityFolder(path)
        if not self._folder.has(AUTHORITY):
            self._folder.close()
            raise NoAuthority(
                f"{path} has no {AUTHORITY}: `virtmesh certs init` makes an authority there"
            )
        revocations = Revocations(self._folder)
        self.clients = ClientCertificates(self._folder, revocations)
        self.tokens = Tokens(self._folder)
        revocations.all()
        self.tokens.all()
        if self._folder.has(AUTHORITY_KEY):
            log.warning(
                "this service can read the key of the authority",
                mend=f"virtmesh certs init {path}, which moves it",
            )

    def close(self) -> None:
        """Close the folder. The server must have stopped."""
        self._folder.close()

    def of_server(self, *, certificates: bool) -> grpc.ServerCredentials:
        """Return the credentials of a listener; with `certificates` its clients must show theirs.

        Errors: SecurityError.
        """
        pair = Pair(self._folder)
        return grpc.dynamic_ssl_server_credentials(
            pair.read(),
            pair.fresh,  # type: ignore[arg-type]  # None keeps what there is
            require_client_authentication=certificates,
        )


class Pair:
    """The files of one listener. Threads of gRPC ask for them before each handshake."""

    def __init__(self, folder: SecurityFolder) -> None:
        self._folder = folder
        self._seen: tuple[Stamp | None, ...] = ()

    def fresh(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what has changed; None: nothing, or nothing that makes sense."""
        if self._stamps() == self._seen:
            return None
        try:
            return self.read()
        except (SecurityError, OSError) as error:
            log.warning("the certificate of this server can't be renewed", error=str(error))
            return None

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Read the files. Errors: SecurityError."""
        self._seen = self._stamps()
        authority = self._folder.read(AUTHORITY)
        certificate = self._folder.read(CERTIFICATE)
        key = self._folder.read(KEY, secret=True)
        read_certificate(authority)
        if read_certificate(certificate).public_key() != read_key(key).public_key():
            self._seen = ()  # One of them is about to be replaced, too.
            raise BadCertificate(f"{self._folder.path}: {KEY} is not the key of {CERTIFICATE}")
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)

    def _stamps(self) -> tuple[Stamp | None, ...]:
        """Return what tells these versions of the files from others."""
        return tuple(self._folder.stamp(name) for name in (AUTHORITY, CERTIFICATE, KEY))
