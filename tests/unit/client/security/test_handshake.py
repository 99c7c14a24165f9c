"""Connections by TLS: they work, or the error says which certificate is wrong and what mends it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.tls_kernel import TlsKernel, tls_kernel
from virtmesh_client import Credentials, aconnect, connect
from virtmesh_client.security import logins
from virtmesh_common.errors import ServiceUnavailable
from virtmesh_common.security.authority import Authority, usual_key_folder
from virtmesh_common.security.certificates import (
    Issuer,
    read_certificate,
    read_key,
    spell_certificate,
)
from virtmesh_common.security.errors import HandshakeFailed
from virtmesh_common.security.roles import Role
from virtmesh_common.security.server_files import CA, SERVER, SERVER_KEY

DAY = timedelta(days=1)


@pytest.fixture
def kernel(folder: Path) -> Iterator[TlsKernel]:
    """Serve, by mutual TLS."""
    with tls_kernel(folder) as kernel:
        yield kernel


def issue(folder: Path, shift: timedelta = timedelta(0), days: float = 1) -> Credentials:
    """Issue to an operator, at another time."""
    with Authority.open(folder) as authority:
        _, bundle = authority.issue("a", Role.OPERATOR, days, now=datetime.now(UTC) + shift)
    return Credentials.from_bundle(bundle.spell().encode())


def failure(address: str, credentials: Credentials | None = None) -> str:
    """Make a call that can't work; return what is said about it."""
    with (
        connect(address, credentials=credentials) as machine,
        pytest.raises(HandshakeFailed) as raised,
    ):
        machine.devices()
    return str(raised.value)


async def test_both_faces_connect(kernel: TlsKernel, folder: Path) -> None:
    """With credentials that are given, or stored."""
    credentials = issue(folder)
    with connect(kernel.address, credentials=credentials) as machine:
        assert [one.name for one in machine.devices()] == ["vda"]
    async with await aconnect(kernel.address, credentials=credentials) as machine:
        assert [one.name for one in await machine.devices()] == ["vda"]

    logins.store(kernel.address, credentials)
    with connect(kernel.address) as machine:
        machine.disk("vda").write(0, bytes(512))
    async with await aconnect(kernel.address) as machine:
        assert await machine.disk("vda").read(0, 512) == bytes(512)


def test_a_token_goes_with_each_call(folder: Path) -> None:
    """And no certificate."""
    with Authority.open(folder) as authority:
        token, _ = authority.tokens.make("ci", Role.OBSERVER, days=1)
    with tls_kernel(folder, certificates=False) as kernel:
        credentials = Credentials.from_token(token, folder / CA)
        with connect(kernel.address, credentials=credentials) as machine:
            assert machine.name == "fake"
            assert ("authorization", f"Bearer {token}") in machine.channel.metadata("vda")


def test_nothing_is_stored_for_a_port_with_tls(kernel: TlsKernel) -> None:
    """On the loopback, where plain text is tried."""
    assert "it wants TLS" in (said := failure(kernel.address))
    assert f"virtmesh login {kernel.address}" in said


def test_plain_text_that_was_asked_for_is_not_about_what_is_stored(kernel: TlsKernel) -> None:
    """Whether anything is."""
    with pytest.raises(HandshakeFailed) as caught, connect(kernel.address, insecure=True) as it:
        it.devices()
    assert "leave out --insecure" in caught.value.message
    assert "stored" not in caught.value.message


def test_a_plain_port_gets_nothing_of_who_has_logged_in(kernel: TlsKernel, folder: Path) -> None:
    """No downgrade: the call fails, and the error says how to go on."""
    assert "does not speak TLS" in (said := failure(kernel.plain_address, issue(folder)))
    assert f"virtmesh logout {kernel.plain_address}" in said


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (-9 * DAY, "certificate of this client has expired: .*virtmesh certs issue"),
        (9 * DAY, "certificate of this client is not yet valid: check the clocks"),
    ],
    ids=["expired", "not yet valid"],
)
def test_the_certificate_of_the_client_does_not_count(
    kernel: TlsKernel, folder: Path, shift: timedelta, said: str
) -> None:
    """By its time."""
    assert re.search(said, failure(kernel.address, issue(folder, shift)))


def test_the_certificate_of_the_client_is_of_another_machine(
    kernel: TlsKernel, folder: Path, tmp_path: Path
) -> None:
    """Whose authority it trusts, or not."""
    Authority.create(tmp_path / "other").close()
    stranger = issue(tmp_path / "other")

    assert "not of the authority that is trusted" in failure(kernel.address, stranger)
    trusting = Credentials((folder / CA).read_text(), stranger.certificate, stranger.key)
    assert "another authority" in failure(kernel.address, trusting)


def test_a_certificate_is_wanted(kernel: TlsKernel, folder: Path) -> None:
    """And a token comes."""
    with Authority.open(folder) as authority:
        token, _ = authority.tokens.make("ci", Role.OBSERVER, days=1)

    said = failure(kernel.address, Credentials.from_token(token, folder / CA))

    assert "asks for a client certificate" in said
    assert token not in said


def test_the_server_has_another_name(folder: Path) -> None:
    """Until the client says which it expects."""
    ca = read_certificate((folder / CA).read_bytes())
    issuer = Issuer(ca, read_key((usual_key_folder(folder) / "ca.key").read_bytes()))
    key = read_key((folder / SERVER_KEY).read_bytes())
    certificate = issuer.server(key.public_key(), ["b.example"], 1, datetime.now(UTC))
    (folder / SERVER).write_bytes(spell_certificate(certificate))
    credentials = issue(folder)

    with tls_kernel(folder) as kernel:
        said = failure(kernel.address, credentials)
        named = Credentials(
            credentials.authority, credentials.certificate, credentials.key, server_name="b.example"
        )
        with connect(kernel.address, credentials=named) as machine:
            assert machine.name == "fake"

    assert "--host NAME" in said
    assert "--server-name" in said


@pytest.mark.parametrize("days", [-9, 9], ids=["expired", "not yet valid"])
def test_the_certificate_of_the_server_does_not_count(folder: Path, days: int) -> None:
    """By its time."""
    with Authority.open(folder) as authority:
        issuer = authority._issuer()
    key = read_key((folder / SERVER_KEY).read_bytes())
    start = datetime.now(UTC) + timedelta(days=days)
    certificate = issuer.server(key.public_key(), ["127.0.0.1"], 1, start)
    (folder / SERVER).write_bytes(spell_certificate(certificate))

    with tls_kernel(folder) as kernel:
        assert "the certificate of the server" in failure(kernel.address, issue(folder))


def test_a_port_where_nobody_listens_is_no_matter_of_certificates(folder: Path) -> None:
    """It is said as ever."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with (
            connect(address, credentials=issue(folder)) as machine,
            pytest.raises(ServiceUnavailable, match="Connection refused"),
        ):
            machine.devices()
