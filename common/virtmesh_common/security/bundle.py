"""A bundle: the private key, the certificate and the authority of a client, in one PEM text.

Nothing is decoded here, so that a client needs no cryptography of its own: gRPC and ssl do that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from virtmesh_common.security.errors import BadCertificate

LIMIT_BYTES = 64 << 10
"""Most bytes of a bundle; ours have about 1800."""
BLOCK = re.compile(
    r"-----BEGIN (?P<kind>[A-Z ]{1,40})-----\r?\n[A-Za-z0-9+/=\r\n]+-----END (?P=kind)-----"
)
KEY_KINDS = ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")


@dataclass(frozen=True)
class Bundle:
    """What a client needs for mutual TLS. Each is PEM."""

    key: str
    certificate: str
    authority: str

    def spell(self) -> str:
        """Return the bundle as one text."""
        return self.key + self.certificate + self.authority


def parse_bundle(data: bytes) -> Bundle:
    """Take a bundle apart: one key, the client's certificate, then that of the authority.

    Text between the blocks is left out. Errors: BadCertificate.
    """
    blocks = blocks_of(data)
    keys = [text for kind, text in blocks if kind in KEY_KINDS]
    certificates = [text for kind, text in blocks if kind == "CERTIFICATE"]
    if len(keys) != 1 or len(certificates) != 2:
        raise BadCertificate(
            f"that is no bundle of `virtmesh certs issue`: it has {len(keys)} keys and"
            f" {len(certificates)} certificates, instead of one key and two certificates"
        )
    return Bundle(keys[0], *certificates)


def parse_authority(data: bytes) -> str:
    """Return the certificate of an authority as PEM, without what stands around it.

    Errors: BadCertificate.
    """
    blocks = blocks_of(data)
    if [kind for kind, _ in blocks] != ["CERTIFICATE"]:
        raise BadCertificate("that is no ca.pem: one certificate belongs there, and no key")
    return blocks[0][1]


def blocks_of(data: bytes) -> list[tuple[str, str]]:
    """Return the blocks of a PEM text with their kinds. Errors: BadCertificate."""
    if len(data) > LIMIT_BYTES:
        raise BadCertificate(f"that has more than {LIMIT_BYTES >> 10} KiB: it is no bundle")
    text = data.decode("ascii", errors="replace")
    return [(match["kind"], match[0].replace("\r", "") + "\n") for match in BLOCK.finditer(text)]
