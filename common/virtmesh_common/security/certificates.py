"""Certificates as they are made and read here (RFC 5280): ECDSA P-256, signed with SHA-256.

A client's certificate says its name in the common name and its role in a URI among the alternative
names: `virtmesh:role:ROLE`. Only the server's may be used by a server (extended key usage), so no
client can pass itself off as the machine.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from virtmesh_common.security.errors import BadCertificate
from virtmesh_common.security.identity import Identity, IdentityKind
from virtmesh_common.security.names import check_name
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    PublicKey = ec.EllipticCurvePublicKey
    Key = ec.EllipticCurvePrivateKey

ROLE_PREFIX = "virtmesh:role:"
PEM_LIMIT_BYTES = 16 << 10
"""Most bytes of a certificate that is read; ours have about 800."""
BACKDATED = timedelta(hours=1)
"""How far a clock may be behind ours."""
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for a text that it can't read; it has no class for all of them."""
HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")


def make_key() -> Key:
    """Make a private key."""
    return ec.generate_private_key(ec.SECP256R1())


def spell_key(key: Key) -> bytes:
    """Spell a private key as PEM (PKCS #8), not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_key(pem: bytes) -> Key:
    """Read a private key. Errors: BadCertificate."""
    try:
        key = load_pem_private_key(pem, password=None)
    except UNREADABLE:
        raise BadCertificate("a private key does not parse") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadCertificate("a private key is not one for ECDSA")
    return key


def read_certificate(pem: bytes) -> x509.Certificate:
    """Read the first certificate of a PEM text. Errors: BadCertificate."""
    if len(pem) > PEM_LIMIT_BYTES:
        raise BadCertificate(f"a certificate has more than {PEM_LIMIT_BYTES >> 10} KiB")
    try:
        return x509.load_pem_x509_certificate(pem)
    except UNREADABLE:
        raise BadCertificate("a certificate does not parse") from None


def spell_certificate(certificate: x509.Certificate) -> bytes:
    """Spell a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def spell_serial(certificate: x509.Certificate) -> str:
    """Spell a serial number: hexadecimal, without zeroes before it."""
    return format(certificate.serial_number, "x")


def identity_of(pem: bytes | str) -> Identity:
    """Return who a client certificate names. Whether it counts, TLS and revoked.json say.

    Errors: BadCertificate for one that does not parse, or has not just one name and one role.
    """
    certificate = read_certificate(pem.encode() if isinstance(pem, str) else pem)
    try:
        (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = others.get_values_for_type(x509.UniformResourceIdentifier)
        (role,) = [one.removeprefix(ROLE_PREFIX) for one in uris if one.startswith(ROLE_PREFIX)]
        return Identity(
            check_name(str(name.value)),
            Role(role),
            IdentityKind.CERTIFICATE,
            spell_serial(certificate),
            certificate.not_valid_after_utc.timestamp(),
        )
    except UNREADABLE:
        raise BadCertificate(
            "a certificate has not just one name and one role of virtmesh"
        ) from None


@dataclass(frozen=True)
class Issuer:
    """The certificate of an authority, and its key."""

    certificate: x509.Certificate
    key: Key

    @classmethod
    def make(cls, name: str, days: float, now: datetime) -> Issuer:
        """Make an authority, signed by itself, with a new key."""
        key = make_key()
        subject = common_name(name)
        certificate = (
            begin(subject, subject, key.public_key(), days, now)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    def server(
        self, public_key: PublicKey, hosts: Iterable[str], days: float, now: datetime
    ) -> x509.Certificate:
        """Make the certificate of a server that is reached by these names and addresses."""
        names = x509.SubjectAlternativeName([host_name(one) for one in hosts])
        builder = self._begin("virtmesh", public_key, days, now)
        return self._sign(builder, SERVER, names)

    def client(
        self, public_key: PublicKey, name: str, role: Role, days: float, now: datetime
    ) -> x509.Certificate:
        """Make the certificate of a client."""
        uri = x509.UniformResourceIdentifier(ROLE_PREFIX + role.value)
        builder = self._begin(name, public_key, days, now)
        return self._sign(builder, CLIENT, x509.SubjectAlternativeName([uri]))

    def _begin(
        self, name: str, public_key: PublicKey, days: float, now: datetime
    ) -> x509.CertificateBuilder:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            begin(common_name(name), self.certificate.subject, public_key, days, now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(signs_certificates=False), critical=True)
            .add_extension(identifier, critical=False)
        )

    def _sign(
        self,
        builder: x509.CertificateBuilder,
        purpose: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName,
    ) -> x509.Certificate:
        return (
            builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(names, critical=False)
            .sign(self.key, hashes.SHA256())
        )


def begin(
    subject: x509.Name, issuer: x509.Name, public_key: PublicKey, days: float, now: datetime
) -> x509.CertificateBuilder:
    """Return what all certificates have."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def common_name(name: str) -> x509.Name:
    """Return a subject of one common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return what a key is for: certificates, or handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def host_name(host: str) -> x509.GeneralName:
    """Return the alternative name for a host name or an address. Errors: ValueError."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not HOST.fullmatch(host):
        raise ValueError(f"{host!r} is no host name and no address")
    return x509.DNSName(host)


def hosts_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the names and addresses of a server's certificate. Errors: BadCertificate."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        raise BadCertificate("the certificate of the server names no host") from None
    return tuple(str(one.value) for one in found)
