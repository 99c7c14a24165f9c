"""Certificates: who they name, what was issued, what was revoked, and folders that are refused."""

from __future__ import annotations

import json
import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from virtmesh_common.security.authority import CA_KEY, ISSUED, Authority, usual_key_folder
from virtmesh_common.security.bundle import parse_bundle
from virtmesh_common.security.certificates import identity_of, read_certificate, spell_certificate
from virtmesh_common.security.errors import (
    BadCertificate,
    BadSecurityFolder,
    NoAuthority,
    NotIssued,
)
from virtmesh_common.security.folder import SecurityFolder
from virtmesh_common.security.identity import IdentityKind
from virtmesh_common.security.revocations import FILE as REVOKED
from virtmesh_common.security.revocations import Revocations
from virtmesh_common.security.roles import Role
from virtmesh_common.security.server_files import CA, SERVER, SERVER_KEY

PROCESSES, EACH = 4, 5
NOBODY = 65534
KEY = f"../security.authority/{CA_KEY}"
"""Where the key of the authority is, from the folder."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with an authority."""
    path = tmp_path / "security"
    Authority.create(path, ["machine.example"]).close()
    return path


@pytest.mark.parametrize("role", list(Role))
def test_a_certificate_names_its_client(folder: Path, role: Role) -> None:
    """Name, role, serial number and end."""
    with Authority.open(folder) as authority:
        record, bundle = authority.issue("alice", role, days=7)

    identity = identity_of(bundle.certificate)

    assert (identity.name, identity.role, identity.kind) == (
        "alice",
        role,
        IdentityKind.CERTIFICATE,
    )
    assert identity.serial == record.serial
    assert identity.expires == datetime.fromisoformat(record.not_after).timestamp()


def test_files_are_closed_to_others(folder: Path) -> None:
    """All of them, and the folder."""
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}

    assert folder.stat().st_mode & 0o777 == 0o700
    assert set(modes.values()) == {0o600}
    assert {CA, SERVER, SERVER_KEY, ISSUED, REVOKED, "tokens.json"} <= set(modes)


def test_the_key_of_the_authority_is_not_where_services_read(folder: Path, tmp_path: Path) -> None:
    """It has a folder of its own beside theirs, or wherever somebody says."""
    usual, other = tmp_path / "security.authority", tmp_path / "vault"
    with Authority.ensure(tmp_path / "second", key_folder=other) as authority:
        authority.issue("alice", Role.OWNER)

    for place in (usual, other):
        assert place.stat().st_mode & 0o777 == 0o700
        assert [one.name for one in place.iterdir()] == [CA_KEY]
        assert (place / CA_KEY).stat().st_mode & 0o777 == 0o600
    for place in (folder, tmp_path / "second"):
        assert not (place / CA_KEY).exists()


def test_a_key_that_lies_among_the_rest_is_moved(folder: Path, tmp_path: Path) -> None:
    """As older versions left it: it issues there, and `ensure` takes it away."""
    usual, key = tmp_path / "security.authority", (tmp_path / "security.authority" / CA_KEY)
    content = key.read_bytes()
    key.rename(folder / CA_KEY)
    usual.rmdir()
    with Authority.open(folder) as authority:
        authority.issue("alice", Role.OWNER)
    Authority.ensure(folder).close()

    assert key.read_bytes() == content
    assert not (folder / CA_KEY).exists()


def test_the_key_of_another_authority_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    """Who names the wrong folder loses nothing."""
    place = usual_key_folder(folder)
    content = (place / CA_KEY).read_bytes()

    with pytest.raises(BadSecurityFolder, match="of another authority"):
        Authority.ensure(tmp_path / "second", key_folder=place)

    assert (place / CA_KEY).read_bytes() == content


def test_what_was_issued_is_registered(folder: Path) -> None:
    """Also for another process."""
    with Authority.open(folder) as authority, Authority.open(folder) as other:
        first, _ = authority.issue("alice", Role.OPERATOR)
        second, _ = other.issue("alice", Role.OBSERVER)

        assert authority.issued() == [first, second]


def test_a_revoked_certificate_is_known_at_once(folder: Path) -> None:
    """To who looks only, without a restart."""
    revocations = Revocations(folder)
    with Authority.open(folder) as authority:
        first, _ = authority.issue("alice", Role.OPERATOR)
        other, _ = authority.issue("bob", Role.OPERATOR)
        assert not revocations.is_revoked(first.serial)

        assert authority.revoke("alice") == [first]

        assert revocations.is_revoked(first.serial)
        assert revocations.is_revoked("00" + first.serial.upper())
        assert not revocations.is_revoked(other.serial)
        assert first.state(revocations.all()) == "revoked"
        assert authority.revoke(first.serial) == []
        with pytest.raises(NotIssued, match="nobody"):
            authority.revoke("nobody")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"[" * 9999, b"\xff", b'{"version": 2}'])
def test_nothing_is_let_in_by_a_damaged_list(folder: Path, content: bytes) -> None:
    """Nobody can tell then what was revoked."""
    revocations = Revocations(folder)
    assert not revocations.is_revoked("1")

    (folder / REVOKED).write_bytes(content)
    with pytest.raises(BadSecurityFolder, match=REVOKED):
        revocations.is_revoked("1")
    (folder / REVOKED).unlink()
    with pytest.raises(BadSecurityFolder, match=REVOKED):
        revocations.is_revoked("1")


@pytest.mark.parametrize(
    "entry",
    [
        {"zz": {"name": "a", "at": "2026-01-01T00:00:00Z"}},
        {"1": {"name": "a", "at": "yesterday"}},
        {"1": {"name": 1, "at": "2026-01-01T00:00:00Z"}},
        {"1": "2026-01-01T00:00:00Z"},
        {"1": {"name": "a" * 999, "at": "2026-01-01T00:00:00Z"}},
    ],
)
def test_strange_entries_are_refused(folder: Path, entry: object) -> None:
    """Each value is checked."""
    (folder / REVOKED).write_text(json.dumps({"version": 1, "serials": entry}))

    with pytest.raises(BadSecurityFolder):
        Revocations(folder).is_revoked("1")


def issue_some(folder: Path) -> None:
    """Issue certificates and tokens, in a process of its own."""
    with Authority.open(folder) as authority:
        for _ in range(EACH):
            authority.issue(f"p{os.getpid()}", Role.OBSERVER)
            authority.tokens.make(f"p{os.getpid()}", Role.OBSERVER, days=1)


def test_several_processes_lose_no_record(folder: Path) -> None:
    """They issue at once."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=issue_some, args=(folder,)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * PROCESSES
    with Authority.open(folder) as authority:
        assert len(authority.issued()) == PROCESSES * EACH
        assert len(authority.tokens.all()) == PROCESSES * EACH
    assert not list(folder.glob("*.new"))


def test_a_folder_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    """It may be turned elsewhere at any moment."""
    link = tmp_path / "link"
    link.symlink_to(folder)

    with pytest.raises(BadSecurityFolder, match="symbolic link"):
        Authority.open(link)
    with pytest.raises(BadSecurityFolder, match="symbolic link"):
        Authority.ensure(link)


def use(folder: Path) -> None:
    """Issue, and revoke again."""
    with Authority.open(folder) as authority:
        authority.issue("alice", Role.OWNER)
        authority.revoke("alice")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", ["", KEY, REVOKED])
def test_what_belongs_to_others_is_refused(folder: Path, name: str) -> None:
    """The folder, or a file in it."""
    os.chown(folder / name, NOBODY, NOBODY)

    with pytest.raises(BadSecurityFolder, match="belongs to user 65534"):
        use(folder)


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [("", 0o770, "others may write"), (KEY, 0o640, "others may read"), (CA, 0o666, "write")],
)
def test_what_is_open_to_others_is_refused(folder: Path, name: str, mode: int, said: str) -> None:
    """With the command that mends it."""
    (folder / name).chmod(mode)

    with pytest.raises(BadSecurityFolder, match=f"{said}.*chmod"):
        Authority.open(folder).issue("alice", Role.OWNER)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "long"])
def test_a_file_that_is_none_is_refused(folder: Path, kind: str) -> None:
    """And nobody waits for it."""
    place = folder / CA
    place.unlink()
    if kind == "link":
        place.symlink_to(folder / SERVER)
    elif kind == "fifo":
        os.mkfifo(place, 0o600)
    elif kind == "folder":
        place.mkdir()
    else:
        os.truncate(os.open(place, os.O_WRONLY | os.O_CREAT, 0o600), 1 << 40)

    with pytest.raises(BadSecurityFolder, match=CA), Authority.open(folder) as authority:
        assert authority.certificate


@pytest.mark.parametrize("host", ["", "a b", "a/b", "-", "a..\n", "x" * 300])
def test_a_host_that_can_not_be_is_refused(tmp_path: Path, host: str) -> None:
    """And leaves no authority behind."""
    with pytest.raises(ValueError, match="no host name"):
        Authority.create(tmp_path / "new", [host])

    assert not (tmp_path / "new" / CA).exists()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".a", "a\n", "a" * 65, "ä", "-"])
def test_a_name_that_can_not_be_is_refused(folder: Path, name: str) -> None:
    """Names are those of files, and of log lines."""
    with Authority.open(folder) as authority, pytest.raises(ValueError, match="no name"):
        authority.issue(name, Role.OBSERVER)


@pytest.mark.parametrize("days", [0, -1, 4000, float("nan"), float("inf")])
def test_days_that_can_not_be_are_refused(folder: Path, days: float) -> None:
    """So an end is always one."""
    with Authority.open(folder) as authority, pytest.raises(ValueError, match="days"):
        authority.issue("alice", Role.OBSERVER, days)


def test_nobody_issues_without_the_key(folder: Path) -> None:
    """It may be kept elsewhere; revoking goes on."""
    with Authority.open(folder) as authority:
        record, _ = authority.issue("alice", Role.OBSERVER)
        (authority.key_folder / CA_KEY).unlink()

        with pytest.raises(NoAuthority, match=CA_KEY):
            authority.issue("bob", Role.OBSERVER)
        assert authority.revoke("alice") == [record]


def test_a_folder_without_an_authority_is_said(tmp_path: Path) -> None:
    """With the command that makes one."""
    with pytest.raises(BadSecurityFolder, match="certs init"):
        Authority.open(tmp_path / "nothing")
    tmp_path.chmod(0o700)
    with pytest.raises(NoAuthority, match="certs init"):
        Authority.open(tmp_path)
    Authority.create(tmp_path).close()
    with pytest.raises(BadSecurityFolder, match="already"):
        Authority.create(tmp_path)


def test_an_authority_signs_no_authority_and_a_client_is_no_server(folder: Path) -> None:
    """By what the certificates say: OpenSSL and BoringSSL hold to it."""
    with Authority.open(folder) as authority:
        _, bundle = authority.issue("alice", Role.OWNER)
        ca, client = read_certificate(authority.certificate.encode()), bundle.certificate
    server = read_certificate((folder / SERVER).read_bytes())
    client_use = read_certificate(client.encode()).extensions.get_extension_for_class(
        x509.ExtendedKeyUsage
    )
    server_use = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage)

    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert list(client_use.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert list(server_use.value) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_a_bundle_comes_apart_as_it_was_put_together(folder: Path) -> None:
    """Whatever stands between its parts."""
    with Authority.open(folder) as authority:
        _, bundle = authority.issue("alice", Role.OWNER)

    assert parse_bundle(bundle.spell().encode()) == bundle
    noisy = "a note\n" + bundle.spell().replace("\n", "\r\n") + "\nthe end"
    assert parse_bundle(noisy.encode()) == bundle
    assert bundle.authority == (folder / CA).read_text()


@pytest.mark.parametrize("data", [b"", b"\x00\xff", b"-----BEGIN CERTIFICATE-----\n", b"-" * 70000])
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    """Before anybody connects with it."""
    with pytest.raises(BadCertificate, match="bundle"):
        parse_bundle(data)


def test_a_certificate_of_others_names_nobody(folder: Path) -> None:
    """It has no role, or does not parse."""
    for pem in (b"", b"x" * 99999, (folder / SERVER).read_bytes(), (folder / CA).read_bytes()):
        with pytest.raises(BadCertificate):
            identity_of(pem)


def test_the_end_of_the_authority_is_that_of_its_clients(folder: Path) -> None:
    """A certificate that outlives it would be good for nothing."""
    late = datetime.now(UTC) + timedelta(days=3600)
    with Authority.open(folder) as authority:
        record, _ = authority.issue("alice", Role.OBSERVER, 365, now=late)
        assert datetime.fromisoformat(record.not_after) - late < timedelta(days=51)
        with pytest.raises(NoAuthority, match="expired"):
            authority.issue("bob", Role.OBSERVER, now=late + timedelta(days=60))


def test_the_folder_that_was_opened_is_used(folder: Path, tmp_path: Path) -> None:
    """Another one in its place is not looked at."""
    with SecurityFolder(folder) as opened:
        folder.rename(tmp_path / "away")
        Authority.create(folder).close()

        assert opened.read(CA) == (tmp_path / "away" / CA).read_bytes()
        assert spell_certificate(read_certificate(opened.read(CA))) == opened.read(CA)
