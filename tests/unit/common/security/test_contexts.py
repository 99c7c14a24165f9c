"""TLS with the files of a security folder: who gets through a handshake, by OpenSSL."""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from virtmesh_common.security.authority import Authority
from virtmesh_common.security.bundle import Bundle
from virtmesh_common.security.certificates import identity_of, make_key, spell_key
from virtmesh_common.security.contexts import server_context, spell_peer
from virtmesh_common.security.errors import BadCertificate, BadSecurityFolder
from virtmesh_common.security.roles import Role
from virtmesh_common.security.server_files import CA, SERVER_KEY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with an authority."""
    path = tmp_path / "security"
    Authority.create(path).close()
    return path


def client_context(folder: Path, bundle: Bundle | None) -> ssl.SSLContext:
    """Return the context of a client, with the strictest check of form."""
    context = ssl.create_default_context(cafile=str(folder / CA))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if bundle is not None:
        file = folder / "client.pem"
        file.write_text(bundle.spell())
        context.load_cert_chain(file)
    return context


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str = "localhost"
) -> ssl.SSLObject:
    """Shake hands in memory; return the server's end. Errors: SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    far = client.wrap_bio(to_client, to_server, server_hostname=host)
    near = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (far, near):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert near.version() == "TLSv1.3"
    return near


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_client_is_known_by_its_certificate(folder: Path, host: str) -> None:
    """After the handshake, by the names that every server has."""
    with Authority.open(folder) as authority:
        record, bundle = authority.issue("prometheus", Role.OBSERVER)

    near = shake_hands(
        server_context(folder, demand_certificate=True), client_context(folder, bundle), host
    )

    identity = identity_of(spell_peer(near))
    assert (identity.name, identity.role, identity.serial) == (
        "prometheus",
        Role.OBSERVER,
        record.serial,
    )


def test_a_client_without_a_certificate_does_not_get_through(folder: Path) -> None:
    """Unless none is asked for."""
    client = client_context(folder, None)

    with pytest.raises(ssl.SSLError, match="peer did not return a certificate"):
        shake_hands(server_context(folder, demand_certificate=True), client)
    near = shake_hands(server_context(folder, demand_certificate=False), client)
    with pytest.raises(BadCertificate, match="no certificate"):
        spell_peer(near)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_is_resumed(folder: Path, version: ssl.TLSVersion) -> None:
    """Each connection shows its certificate, which may have expired since the last one."""
    with Authority.open(folder) as authority:
        _, bundle = authority.issue("prometheus", Role.OBSERVER)
    server, client = server_context(folder, demand_certificate=True), client_context(folder, bundle)
    client.maximum_version = version
    session: ssl.SSLSession | None = None
    for _ in range(2):
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        far = client.wrap_bio(to_client, to_server, server_hostname="localhost", session=session)
        near = server.wrap_bio(to_server, to_client, server_side=True)
        for _ in range(4):
            for end in (far, near):
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
        near.write(b"x")
        assert far.read() == b"x"  # what a server gives for the next time, comes before it
        assert (near.version() or "").replace(".", "_").endswith(version.name[-3:])
        assert not near.session_reused
        assert far.session is None or not far.session.has_ticket
        session = far.session


@pytest.mark.parametrize("fault", ["expired", "not yet valid", "unknown ca"])
def test_a_certificate_that_does_not_count_is_refused(
    folder: Path, tmp_path: Path, fault: str
) -> None:
    """By its time, or by who signed it."""
    now, home = datetime.now(UTC), folder
    if fault == "unknown ca":
        home = tmp_path / "other"
        Authority.create(home).close()
    shift = {"expired": -9, "not yet valid": 9}.get(fault, 0)
    with Authority.open(home) as authority:
        _, bundle = authority.issue("x", Role.OWNER, 1, now=now + timedelta(days=shift))

    with pytest.raises(ssl.SSLError, match=r"expired|not yet valid|self.signed|issuer|signature"):
        shake_hands(server_context(folder, demand_certificate=True), client_context(folder, bundle))


def test_a_client_can_not_pass_itself_off_as_the_machine(folder: Path, tmp_path: Path) -> None:
    """Its certificate is not for servers."""
    with Authority.open(folder) as authority:
        _, bundle = authority.issue("localhost", Role.OWNER)
    file = tmp_path / "false.pem"
    file.write_text(bundle.spell())
    false = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    false.load_cert_chain(file)

    with pytest.raises(ssl.SSLCertVerificationError, match=r"purpose"):
        shake_hands(false, client_context(folder, None))


def test_files_that_do_not_fit_are_refused(folder: Path) -> None:
    """Or are open to others."""
    (folder / SERVER_KEY).write_bytes(spell_key(make_key()))
    with pytest.raises(BadCertificate, match="do not fit"):
        server_context(folder, demand_certificate=True)
    (folder / SERVER_KEY).chmod(0o644)
    with pytest.raises(BadSecurityFolder, match="others may read"):
        server_context(folder, demand_certificate=True)
