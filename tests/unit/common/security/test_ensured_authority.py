"""`Authority.ensure`: what is completed in a folder, and what is not made anew; by whose key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from virtmesh_common.security.authority import CA_KEY, Authority, usual_key_folder
from virtmesh_common.security.errors import BadSecurityFolder
from virtmesh_common.security.revocations import FILE as REVOKED
from virtmesh_common.security.roles import Role
from virtmesh_common.security.server_files import CA, SERVER, SERVER_KEY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with an authority."""
    path = tmp_path / "security"
    Authority.create(path, ["machine.example"]).close()
    return path


def test_what_was_revoked_does_not_come_back_by_losing_a_file(folder: Path) -> None:
    """`ensure` makes no empty list beside an authority."""
    (folder / REVOKED).unlink()

    with pytest.raises(BadSecurityFolder, match=r"lost its revoked.*put it back"):
        Authority.ensure(folder)


@pytest.mark.parametrize("what", ["certificate", "token"])
def test_an_authority_that_clients_know_is_not_replaced(folder: Path, what: str) -> None:
    """A lost ca.pem can be put back; with another authority all of them would be strangers."""
    content, key = (folder / CA).read_bytes(), (usual_key_folder(folder) / CA_KEY).read_bytes()
    with Authority.open(folder) as authority:
        if what == "certificate":
            authority.issue("alice", Role.OWNER)
        else:
            authority.tokens.make("ci", Role.OWNER, days=1)
    (folder / CA).unlink()

    with pytest.raises(BadSecurityFolder, match=r"lost its ca\.pem.*put it back"):
        Authority.ensure(folder)

    assert (usual_key_folder(folder) / CA_KEY).read_bytes() == key
    (folder / CA).write_bytes(content)
    with Authority.ensure(folder) as authority:
        authority.issue("bob", Role.OWNER)


def test_who_was_stopped_before_the_authority_was_whole_begins_again(folder: Path) -> None:
    """ca.pem is written last, and nobody knows the authority by then."""
    (folder / CA).unlink()

    with Authority.ensure(folder) as authority:
        record, bundle = authority.issue("alice", Role.OWNER)

        assert authority.check(bundle.certificate.encode()) == record


def test_the_server_gets_the_names_that_are_asked_for(folder: Path) -> None:
    """Its certificate is renewed then, and keeps its key: at any moment the two fit."""
    key, certificate = (folder / SERVER_KEY).read_bytes(), (folder / SERVER).read_bytes()

    Authority.ensure(folder, ["machine.example"]).close()
    assert (folder / SERVER).read_bytes() == certificate
    with Authority.ensure(folder, ["192.0.2.7", "2001:db8::7", "b.example"]) as authority:
        assert set(authority.hosts) == {
            "localhost", "127.0.0.1", "::1", "machine.example", "192.0.2.7", "2001:db8::7",
            "b.example",
        }  # fmt: skip
    assert (folder / SERVER_KEY).read_bytes() == key


def test_addresses_of_ipv6_come_last(folder: Path) -> None:
    """Socat compares in order, and ends at one where the machine's name has none."""
    with Authority.ensure(folder, ["2001:db8::7", "192.0.2.7", "b.example"]) as authority:
        assert authority.hosts == (
            "localhost", "127.0.0.1", "machine.example", "192.0.2.7", "b.example", "::1",
            "2001:db8::7",
        )  # fmt: skip


def test_the_server_is_renewed_before_its_end(folder: Path) -> None:
    """By whoever starts the machine then."""
    later = datetime.now(UTC) + timedelta(days=700)

    with Authority.ensure(folder, now=later) as authority:
        left = datetime.fromisoformat(authority.server_not_after) - later
        assert left > timedelta(days=800)


def test_nothing_is_signed_with_the_key_of_another_authority(folder: Path, tmp_path: Path) -> None:
    """Nobody could use it: a client's certificate, nor that of the listeners."""
    other = tmp_path / "other"
    Authority.create(other).close()
    place = usual_key_folder(other)
    server = (folder / SERVER).read_bytes()
    with Authority.open(folder, place) as authority:
        with pytest.raises(BadSecurityFolder, match=r"key of another authority.*--authority"):
            authority.issue("alice", Role.OWNER)
        assert authority.issued() == []
    with pytest.raises(BadSecurityFolder, match="key of another authority"):
        Authority.ensure(folder, ["b.example"], key_folder=place)
    assert (folder / SERVER).read_bytes() == server


def test_of_several_authorities_the_one_with_the_key_issues(folder: Path, tmp_path: Path) -> None:
    """While clients change over from one to the next."""
    Authority.create(tmp_path / "before").close()
    with (folder / CA).open("r+b") as file:
        content = file.read()
        file.seek(0)
        file.write((tmp_path / "before" / CA).read_bytes() + content)

    with Authority.open(folder) as authority:
        record, bundle = authority.issue("alice", Role.OWNER)

        assert authority.check(bundle.certificate.encode()) == record
        assert bundle.authority.encode() == content
