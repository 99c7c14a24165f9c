"""Certificates, bundles, tokens and revocations: files that a client or a copy may have spoilt."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from tests.fuzz.target import stateless
from virtmesh_common.security import authority, bundle, revocations, tokens
from virtmesh_common.security.certificates import (
    Issuer,
    identity_of,
    make_key,
    read_certificate,
    read_key,
    spell_certificate,
    spell_key,
)
from virtmesh_common.security.errors import BadCertificate, BadSecurityFolder
from virtmesh_common.security.roles import Role

FILES = (authority.parse, tokens.parse, revocations.parse)
PEM: tuple[Callable[[bytes], object], ...] = (
    bundle.parse_bundle,
    bundle.parse_authority,
    identity_of,
    read_certificate,
    read_key,
)


def run(data: bytes) -> None:
    """Parse bytes as each file."""
    for parse in FILES:
        with suppress(BadSecurityFolder):
            parse(data, "fuzz")
    for read in PEM:
        with suppress(BadCertificate, BadSecurityFolder):
            read(data)


def seeds() -> list[bytes]:
    """Return a certificate, and files of each kind."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    issuer, key = Issuer.make("fuzz", 1, now), make_key()
    client = issuer.client(key.public_key(), "ann", Role.OPERATOR, 1, now)
    pem = [spell_key(key), spell_certificate(client), spell_certificate(issuer.certificate)]
    time = "2027-01-01T00:00:00Z"
    who = {"name": "ann", "role": "operator"}
    token = {"id": "0" * 12, "sha256": "0" * 64, "expires": time, "revoked": False}
    files: list[dict[str, object]] = [
        {"version": 1, "tokens": [{**who, **token}]},
        {"version": 1, "certificates": [{"serial": "1f", **who, "not_after": time}]},
        {"version": 1, "serials": {"1f": {"name": "ann", "at": time}}},
    ]
    return [*pem, b"".join(pem), *(json.dumps(one).encode() for one in files)]


TARGET = stateless(run, seeds)
