"""Certificates with something inside that the library has an exception of its own for."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from virtmesh_common.security.authority import Authority
from virtmesh_common.security.certificates import identity_of, read_certificate
from virtmesh_common.security.errors import BadCertificate
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("made", "spoilt"),
    [
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x12"),  # version 19
        (b"\x86\x16virtmesh:role:", b"\xa3\x16virtmesh:role:"),  # a name of X.400
        (b"\x55\x1d\x0f", b"\x55\x1d\x11"),  # two extensions of alternative names
    ],
)
def test_a_certificate_that_is_odd_inside_names_nobody(
    tmp_path: Path, made: bytes, spoilt: bytes
) -> None:
    """It is refused like any other."""
    folder = tmp_path / "security"
    with Authority.create(folder, ["machine.example"]) as authority:
        _, bundle = authority.issue("alice", Role.OPERATOR)
    der = read_certificate(bundle.certificate.encode()).public_bytes(Encoding.DER)
    assert der.count(made) == 1
    pem = b64encode(der.replace(made, spoilt)).decode()

    with pytest.raises(BadCertificate):
        identity_of(f"-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n")
