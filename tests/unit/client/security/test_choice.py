"""Which credentials a connection uses, and that nothing is ever sent in plain text by mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtmesh_client import Credentials, connect
from virtmesh_client.security import logins
from virtmesh_client.security.choice import choose
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.security.authority import Authority
from virtmesh_common.security.errors import BadCertificate, BadLogin, BadToken, LoginNeeded
from virtmesh_common.security.roles import Role
from virtmesh_common.security.server_files import CA

FAR, NEAR, SOCKET = "machine.example:50051", "127.0.0.1:50051", "unix:/run/kernel.sock"


@pytest.fixture
def credentials(folder: Path) -> Credentials:
    """Return those of an operator."""
    with Authority.open(folder) as authority:
        return Credentials.from_bundle(authority.issue("a", Role.OPERATOR)[1].spell().encode())


@pytest.fixture
def token(folder: Path) -> str:
    """Return the token of an observer."""
    with Authority.open(folder) as authority:
        return authority.tokens.make("ci", Role.OBSERVER, days=1)[0]


@pytest.mark.parametrize("address", [NEAR, "localhost:1", "[::1]:1", SOCKET])
def test_this_host_needs_no_login(address: str) -> None:
    """Plain text on the loopback, and unix sockets, as ever."""
    assert choose(address) is None


@pytest.mark.parametrize("address", [FAR, "192.0.2.1:1", "[2001:db8::1]:1", "127.0.0.1.example:1"])
def test_another_host_needs_one(address: str) -> None:
    """The error says which command stores it, and nothing is sent."""
    with pytest.raises(LoginNeeded, match="virtmesh login"):
        choose(address)
    with pytest.raises(LoginNeeded):
        connect(address)
    assert choose(address, insecure=True) is None


@pytest.mark.parametrize("address", [FAR, NEAR])
def test_what_was_stored_is_found(address: str, credentials: Credentials) -> None:
    """For that address, however it is spelled, and for no other."""
    logins.store(address, credentials)

    assert choose(address) == credentials
    assert choose(address.upper()) == credentials
    with pytest.raises(LoginNeeded):
        choose("other.example:50051")


@pytest.mark.parametrize("address", [FAR, NEAR])
def test_what_was_stored_and_is_damaged_means_no_plain_text(
    address: str, credentials: Credentials
) -> None:
    """Also on the loopback: who breaks a file gets no downgrade by that."""
    logins.store(address, credentials).write_text("{}")

    with pytest.raises(BadLogin):
        choose(address)


def test_what_is_given_comes_first(
    credentials: Credentials, folder: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the environment, then what is stored."""
    logins.store(FAR, credentials)
    other = Credentials.from_token(token, folder / CA)

    assert choose(FAR, other) == other
    monkeypatch.setenv("VIRTMESH_TOKEN", token)
    monkeypatch.setenv("VIRTMESH_CA", str(folder / CA))
    assert choose(FAR) == other
    assert choose(FAR, credentials) == credentials


def test_the_environment_names_a_bundle(
    credentials: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For scripts."""
    file = tmp_path / "a.pem"
    file.write_text(credentials.key + credentials.certificate + credentials.authority)
    monkeypatch.setenv("VIRTMESH_CREDENTIALS", str(file))

    assert choose(FAR) == credentials
    assert choose(SOCKET) is None
    file.unlink()
    with pytest.raises(BadLogin, match=r"a\.pem"):
        choose(FAR)


def test_a_key_of_the_environment_belongs_to_its_certificate(
    credentials: Credentials, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else gRPC would say that no service answers, after some lines of its own."""
    with Authority.open(folder) as authority:
        other = authority.issue("b", Role.OPERATOR)[1]
    file = tmp_path / "a.pem"
    file.write_text(other.key + credentials.certificate + credentials.authority)
    monkeypatch.setenv("VIRTMESH_CREDENTIALS", str(file))

    with pytest.raises(BadCertificate, match=r"a\.pem.*do not belong together.*certs issue"):
        choose(FAR)


def test_a_bundle_of_the_environment_comes_before_a_token(
    credentials: Credentials,
    folder: Path,
    token: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where both are named."""
    file = tmp_path / "a.pem"
    file.write_text(credentials.key + credentials.certificate + credentials.authority)
    monkeypatch.setenv("VIRTMESH_CREDENTIALS", str(file))
    monkeypatch.setenv("VIRTMESH_TOKEN", token)
    monkeypatch.setenv("VIRTMESH_CA", str(folder / CA))

    assert choose(FAR) == credentials


@pytest.mark.parametrize(("token", "error"), [("vmt_x", BadToken), ("", BadToken)])
def test_a_token_of_the_environment_is_checked(
    token: str, error: type[VirtmeshError], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And needs an authority."""
    monkeypatch.setenv("VIRTMESH_TOKEN", token or "nonsense")
    with pytest.raises(BadLogin, match="VIRTMESH_CA"):
        choose(FAR)
    monkeypatch.setenv("VIRTMESH_CA", str(folder / CA))
    with pytest.raises(error):
        choose(FAR)


def test_contradictions_are_refused(credentials: Credentials) -> None:
    """A key has no business in plain text, nor on a unix socket."""
    with pytest.raises(ValueError, match="insecure"):
        choose(FAR, credentials, insecure=True)
    with pytest.raises(ValueError, match="unix socket"):
        choose(SOCKET, credentials)


def test_secrets_are_not_printed(credentials: Credentials, folder: Path, token: str) -> None:
    """A script may print its objects."""
    assert "PRIVATE" not in repr(credentials)
    assert token not in repr(Credentials.from_token(token, folder / CA))
