"""The TLS side of a server: its certificate and authority, read again when the files change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import structlog

from virtmesh_common.security.authority import CA_KEY
from virtmesh_common.security.certificates import read_certificate
from virtmesh_common.security.client_certificates import ClientCertificates
from virtmesh_common.security.errors import NoAuthority, SecurityError
from virtmesh_common.security.folder import SecurityFolder
from virtmesh_common.security.revocations import Revocations
from virtmesh_common.security.server_files import CA, ServerFiles
from virtmesh_common.security.tokens import Tokens

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)


class Credentials:
    """What a server takes from its security folder. Errors: SecurityError."""

    def __init__(self, path: Path) -> None:
        self._folder = SecurityFolder(path)
        if not self._folder.has(CA):
            self._folder.close()
            raise NoAuthority(f"{path} has no {CA}: `virtmesh certs init` makes an authority there")
        revocations = Revocations(self._folder)
        self.clients = ClientCertificates(self._folder, revocations)
        self.tokens = Tokens(self._folder)
        revocations.all()
        self.tokens.all()
        if self._folder.has(CA_KEY):
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
        self._files = ServerFiles(folder)

    def fresh(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what has changed; None: nothing, or nothing that makes sense."""
        if not self._files.has_changed:
            return None
        try:
            return self.read()
        except (SecurityError, OSError) as error:
            log.warning("the certificate of this server can't be renewed", error=str(error))
            return None

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Read the files. Errors: SecurityError."""
        authority, certificate, key = self._files.read()
        read_certificate(authority)  # gRPC says nothing of one that does not parse
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)
