"""TLS by Python's own ssl, with the files of a security folder: for HTTPS, beside gRPC."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from virtmesh_common.security.errors import BadCertificate
from virtmesh_common.security.folder import SecurityFolder
from virtmesh_common.security.server_files import CA, SERVER, SERVER_KEY

if TYPE_CHECKING:
    from pathlib import Path


def server_context(path: Path, *, demand_certificate: bool) -> ssl.SSLContext:
    """Return the context of a server of this machine, TLS 1.2 or newer.

    With `demand_certificate` only clients with a certificate of the authority get through the
    handshake; `spell_peer` says who they are, and `ClientCertificates` whether they count.
    Errors: BadSecurityFolder; BadCertificate for files that do not parse.
    """
    with SecurityFolder(path) as folder:
        for name, secret in ((CA, False), (SERVER, False), (SERVER_KEY, True)):
            folder.read(name, secret=secret)  # ssl reads by name: what it reads is checked here
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A session that is resumed shows the certificate of an old handshake.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        try:
            context.load_cert_chain(folder.path / SERVER, folder.path / SERVER_KEY)
            context.load_verify_locations(folder.path / CA)
        except ssl.SSLError as error:
            raise BadCertificate(f"the files in {path} do not fit: {error.reason}") from None
    if demand_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def spell_peer(connection: ssl.SSLObject | ssl.SSLSocket) -> bytes:
    """Spell the certificate of the other end as PEM. Errors: BadCertificate if there is none."""
    encoded = connection.getpeercert(binary_form=True)
    if not encoded:
        raise BadCertificate("the client has shown no certificate")
    return ssl.DER_cert_to_PEM_cert(encoded).encode()
