"""Certificates of clients, asked about at each call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from virtmesh_common.security import client_certificates
from virtmesh_common.security.authority import Authority
from virtmesh_common.security.certificates import (
    PEM_LIMIT_BYTES,
    Issuer,
    identity_of,
    spell_certificate,
)
from virtmesh_common.security.client_certificates import KNOWN_MAX, ClientCertificates
from virtmesh_common.security.errors import BadCertificate
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from unittest.mock import Mock


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    """Make an authority."""
    with Authority.create(tmp_path / "security") as authority:
        yield authority


@pytest.fixture
def clients(authority: Authority) -> ClientCertificates:
    """Make what is tested."""
    return ClientCertificates(authority.folder, authority.revocations)


@pytest.fixture
def parser() -> Iterator[Mock]:
    """Count how often a certificate is parsed."""
    with patch.object(client_certificates, "identity_of", side_effect=identity_of) as parser:
        yield parser


def issue(authority: Authority, name: str = "alice", *, age: float = 0) -> bytes:
    """Issue a certificate for two days, so many days ago."""
    when = datetime.now(UTC) - timedelta(days=age)
    return authority.issue(name, Role.OBSERVER, 2, now=when)[1].certificate.encode()


def test_a_certificate_counts_until_it_does_not(
    authority: Authority, clients: ClientCertificates
) -> None:
    """It expires, or is revoked; the same object is asked."""
    good, old = (clients.identify(issue(authority, age=age)) for age in (0, 3))

    assert (clients.why_not(good), clients.why_not(old)) == ("", "has expired")

    authority.revoke(good.serial)

    assert clients.why_not(good) == "was revoked"


def test_one_of_another_authority_counts_never(clients: ClientCertificates, tmp_path: Path) -> None:
    """Although it names a role."""
    with Authority.create(tmp_path / "other") as other:
        identity = clients.identify(issue(other))

    assert clients.why_not(identity) == "is of an authority that this machine has no more"


def test_a_certificate_that_names_nobody_is_parsed_once(
    clients: ClientCertificates, parser: Mock
) -> None:
    """However often it comes: a refusal costs no more than an entry does."""
    nobody = spell_certificate(Issuer.make("nobody", 1, datetime.now(UTC)).certificate)
    for _ in range(100):
        with pytest.raises(BadCertificate, match="not just one name"):
            clients.identify(nobody)

    assert parser.call_count == 1


def test_a_huge_one_is_not_parsed_and_not_kept(clients: ClientCertificates, parser: Mock) -> None:
    """Its length suffices."""
    with pytest.raises(BadCertificate, match="more than 16 KiB"):
        clients.identify(b"-" * (PEM_LIMIT_BYTES + 1))

    assert parser.call_count == 0


def test_strange_ones_do_not_push_everyone_out(
    authority: Authority, clients: ClientCertificates, parser: Mock
) -> None:
    """The oldest makes room for one more, and no more are kept than that."""
    texts = [b"no certificate %d" % number for number in range(KNOWN_MAX)]
    for text in (*texts, issue(authority)):
        with_error = text.startswith(b"no")
        if with_error:
            with pytest.raises(BadCertificate):
                clients.identify(text)
        else:
            clients.identify(text)
    before = parser.call_count
    for text in (texts[-1], texts[0]):
        with pytest.raises(BadCertificate):
            clients.identify(text)

    assert (before, parser.call_count) == (KNOWN_MAX + 1, KNOWN_MAX + 2)
