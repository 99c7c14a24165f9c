"""Who shows a client certificate, and whether it counts now. It may be asked at each call.

TLS has checked signature and dates when the connection began. An authority that was replaced since
then, a certificate that has expired or was revoked since then, is found here.
"""

from __future__ import annotations

from dataclasses import replace
from time import time
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificates

from virtmesh_common.security.certificates import PEM_LIMIT_BYTES, identity_of, read_certificate
from virtmesh_common.security.errors import BadCertificate, BadSecurityFolder
from virtmesh_common.security.records import Watched
from virtmesh_common.security.server_files import CA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.x509 import Certificate

    from virtmesh_common.security.folder import SecurityFolder
    from virtmesh_common.security.identity import Identity
    from virtmesh_common.security.revocations import Revocations

KNOWN_MAX = 256
"""Most certificates of which it is kept whose they are, or what is wrong with them."""
AUTHORITIES_MAX = 16
"""Most authorities of one ca.pem: each is tried for a certificate that is new."""


class ClientCertificates:
    """Reads certificates of clients, for one thread. The folder stays the caller's to close.

    Errors of its methods: BadSecurityFolder while ca.pem or revoked.json is missing or does not
    parse. Then nobody can tell who counts, so nobody may be let in.
    """

    def __init__(self, folder: SecurityFolder, revocations: Revocations) -> None:
        self._authorities = Watched(folder, CA, parse, secret=False)
        self._revocations = revocations
        self._seen: Mapping[str, Certificate] = {}
        self._known: dict[bytes, Identity | str] = {}
        """By certificate, the oldest first: whose it is, or why it is nobody's."""

    def identify(self, pem: bytes) -> Identity:
        """Return who a certificate names. Errors: BadCertificate if it names nobody."""
        if len(pem) > PEM_LIMIT_BYTES:
            raise BadCertificate(f"a certificate has more than {PEM_LIMIT_BYTES >> 10} KiB")
        authorities = self._authorities.get()
        if authorities is not self._seen:
            self._known.clear()
            self._seen = authorities
        found = self._known.get(pem)
        if found is None:
            found = self._read(pem, authorities)
            while len(self._known) >= KNOWN_MAX:
                del self._known[next(iter(self._known))]
            self._known[pem] = found
        if isinstance(found, str):
            raise BadCertificate(found)
        return found

    def why_not(self, identity: Identity) -> str:
        """Say why an identity of `identify` counts no more; nothing when it does."""
        if identity.expires is not None and time() >= identity.expires:
            return "has expired"
        if identity.issuer not in self._authorities.get():
            return "is of an authority that this machine has no more"
        return "was revoked" if self._revocations.is_revoked(identity.serial) else ""

    @staticmethod
    def _read(pem: bytes, authorities: Mapping[str, Certificate]) -> Identity | str:
        """Return whose a certificate is, or why it is nobody's."""
        try:
            identity, certificate = identity_of(pem), read_certificate(pem)
        except BadCertificate as error:
            return error.message
        signers = (name for name, one in authorities.items() if has_signed(one, certificate))
        return replace(identity, issuer=next(signers, ""))


def has_signed(authority: Certificate, certificate: Certificate) -> bool:
    """Say whether an authority has signed a certificate itself."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def parse(data: bytes, where: str) -> dict[str, Certificate]:
    """Return the authorities of ca.pem by their public keys. Errors: BadSecurityFolder."""
    if len(data) > PEM_LIMIT_BYTES * AUTHORITIES_MAX:
        raise BadSecurityFolder(f"{where} is too long for {AUTHORITIES_MAX} certificates")
    try:
        found = load_pem_x509_certificates(data)
        names = [spell_public_key(one) for one in found]
    except (ValueError, TypeError):
        raise BadSecurityFolder(f"{where} does not parse") from None
    if len(found) > AUTHORITIES_MAX:
        raise BadSecurityFolder(f"{where} has more than {AUTHORITIES_MAX} certificates")
    return dict(zip(names, found, strict=True))


def spell_public_key(certificate: Certificate) -> str:
    """Spell the public key of a certificate: one that is renewed keeps it."""
    form = PublicFormat.SubjectPublicKeyInfo
    return certificate.public_key().public_bytes(Encoding.DER, form).hex()
