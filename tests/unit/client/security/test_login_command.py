"""`virtmesh certs`, `tokens`, `login` and `logout`: what they print, write, and refuse."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.tls_kernel import TlsKernel, tls_kernel
from virtmesh_client.cli.run import run
from virtmesh_client.security import logins
from virtmesh_common.security.bundle import Bundle, parse_bundle
from virtmesh_common.security.certificates import identity_of
from virtmesh_common.security.server_files import CA


class Shell:
    """Runs command lines in this process, for the machine of a security folder."""

    def __init__(self, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capture, self._patch = capture, patch

    def __call__(self, *arguments: object, stdin: str = "") -> tuple[int, str, str]:
        """Return exit status, standard output and standard error."""
        self._patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        status = run([str(argument) for argument in arguments])
        output = self._capture.readouterr()
        return status, output.out, output.err


@pytest.fixture
def shell(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> Shell:
    """Return a shell whose $VIRTMESH_SECURITY is the folder of a machine."""
    monkeypatch.setenv("VIRTMESH_SECURITY", str(folder))
    return Shell(capfd, monkeypatch)


@pytest.fixture
def kernel(folder: Path) -> Iterator[TlsKernel]:
    """Serve, by mutual TLS."""
    with tls_kernel(folder) as kernel:
        yield kernel


def other_key(bundle: Bundle, other: Bundle) -> str:
    """Take the key of another certificate."""
    return Bundle(other.key, bundle.certificate, bundle.authority).spell()


def swapped(bundle: Bundle, _: Bundle) -> str:
    """Put the authority into the place of the certificate."""
    return Bundle(bundle.key, bundle.authority, bundle.certificate).spell()


def damaged(bundle: Bundle, _: Bundle) -> str:
    """Put other letters into the key."""
    return bundle.key.replace("M", "A") + bundle.certificate + bundle.authority


def other_authority(bundle: Bundle, _: Bundle) -> str:
    """Trust somebody who has signed nothing."""
    return bundle.key + bundle.certificate + bundle.certificate


@pytest.mark.parametrize("spoil", [other_key, swapped, damaged, other_authority])
@pytest.mark.parametrize("options", [(), ("--no-check",)])
def test_a_bundle_that_is_broken_is_not_stored(
    shell: Shell,
    kernel: TlsKernel,
    tmp_path: Path,
    spoil: Callable[[Bundle, Bundle], str],
    options: tuple[str, ...],
) -> None:
    """The bundle is blamed, and not the machine."""
    one, two = (
        parse_bundle(shell("certs", "issue", "--role", "owner", name, "-")[1].encode())
        for name in ("alice", "bob")
    )
    file = tmp_path / "broken.pem"
    file.write_text(spoil(one, two))
    status, out, err = shell("login", kernel.address, file, *options)

    assert (status, out) == (1, "")
    assert "ask for a fresh bundle" in err
    assert logins.every() == []


def test_an_authority_is_made_where_somebody_says(shell: Shell, tmp_path: Path) -> None:
    """And may be completed: the hosts are added, nothing is lost."""
    place = tmp_path / "new" / "security"
    status, out, _ = shell("--json", "certs", "init", place, "--host", "a.example, b.example")
    assert (status, json.loads(out)["hosts"][2:-1]) == (0, ["a.example", "b.example"])
    authority = (place / CA).read_bytes()

    status, out, _ = shell("--json", "certs", "init", "--folder", place, "--host", "192.0.2.7")

    assert json.loads(out)["hosts"][2:-1] == ["a.example", "b.example", "192.0.2.7"]
    assert (place / CA).read_bytes() == authority
    assert shell("certs", "init", place, "--host", "a b/c")[0] == 2


def test_a_bundle_goes_to_a_file_of_this_user(shell: Shell, folder: Path, tmp_path: Path) -> None:
    """That of the folder, or one that is named; none is replaced unasked."""
    status, out, said = shell("certs", "issue", "--role", "operator", "alice")
    file = folder / "clients" / "alice.pem"
    assert (status, out) == (0, "")
    assert str(file) in said
    assert file.stat().st_mode & 0o777 == 0o600
    assert identity_of(parse_bundle(file.read_bytes()).certificate).name == "alice"

    before = file.read_bytes()
    status, _, said = shell("certs", "issue", "--role", "operator", "alice")
    assert (status, file.read_bytes()) == (1, before)
    assert "--force" in said
    assert len(json.loads(shell("--json", "certs", "list")[1])) == 1

    mask = os.umask(0)
    try:
        named = tmp_path / "named.pem"
        assert shell("certs", "issue", "--role", "operator", "alice", named)[0] == 0
    finally:
        os.umask(mask)
    assert named.stat().st_mode & 0o777 == 0o600


def test_nothing_is_issued_for_a_file_that_can_not_be(shell: Shell, tmp_path: Path) -> None:
    """The folder is looked at first, and named."""
    missing = tmp_path / "no" / "x.pem"
    for command in (("certs",), ("tokens",)):
        status, _, said = shell(*command, "issue", "--role", "observer", "bob", missing)
        assert (status, f"{missing}: its folder does not exist" in said) == (1, True)
        assert "partial" not in said
        assert json.loads(shell("--json", *command, "list")[1]) == []


def test_a_script_learns_whether_a_bundle_still_counts(shell: Shell, tmp_path: Path) -> None:
    """By authority, end and revocation, and not by the age of the file."""
    file = tmp_path / "bundle.pem"
    assert shell("certs", "check", file)[0] == 1
    shell("certs", "issue", "--role", "observer", "--days", 200, "bob", file)
    status, out, _ = shell("--json", "certs", "check", "--days", 199, file)
    assert (status, json.loads(out)["name"]) == (0, "bob")
    assert "less than 201 days" in shell("certs", "check", "--days", 201, file)[2]

    other = tmp_path / "other"
    shell("certs", "init", other)
    assert "of an authority" in shell("certs", "check", "--folder", other, file)[2]

    text = file.read_text()
    file.write_text(text[: len(text) // 2])
    assert shell("certs", "check", file)[0] == 1
    file.write_text(text)
    assert shell("certs", "check", file)[0] == 0
    shell("certs", "revoke", "bob")
    status, _, said = shell("certs", "check", file)
    assert (status, "was revoked" in said) == (1, True)


def test_a_bundle_in_a_pipe_logs_in(shell: Shell, kernel: TlsKernel) -> None:
    """From then on the address is enough, until somebody logs out."""
    status, bundle, said = shell("certs", "issue", "--role", "operator", "alice", "-")
    assert status == 0
    assert re.match(r"issued [0-9a-f]+ to alice as operator, until ", said)

    status, out, _ = shell("login", kernel.address, "-", stdin=bundle)
    assert (status, out) == (
        0,
        f"logged in to the machine fake at {kernel.address}, by certificate\n",
    )
    assert shell("--address", kernel.address, "devices")[0] == 0
    (listed,) = json.loads(shell("--json", "login", "--list")[1])
    assert (listed["address"], listed["kind"]) == (kernel.address, "certificate")

    assert shell("logout", kernel.address)[0] == 0
    status, _, said = shell("--address", kernel.address, "devices")
    assert status == 1
    assert f"virtmesh login {kernel.address}" in said
    assert "nothing was stored" in shell("logout", kernel.address)[2]


def test_a_bundle_that_does_not_work_is_not_stored(
    shell: Shell, kernel: TlsKernel, tmp_path: Path
) -> None:
    """Unless nobody is to try it."""
    other = tmp_path / "other"
    shell("certs", "init", other)
    _, bundle, _ = shell("certs", "issue", "--role", "owner", "--folder", other, "mallory", "-")

    status, _, said = shell("login", kernel.address, "-", stdin=bundle)

    assert status == 1
    assert "not of the authority" in said
    assert logins.find(kernel.address) is None
    assert shell("login", "--no-check", "machine.example", "-", stdin=bundle)[0] == 0
    assert logins.find("machine.example:50051") is not None


@pytest.mark.parametrize("option", [["-"], ["--token", "-", "--ca", "ca.pem"]])
def test_an_empty_pipe_is_said(shell: Shell, option: list[str]) -> None:
    """What should have issued has failed, and has said why; nothing is wrong with its format."""
    status, _, said = shell("login", "machine.example", *option, stdin="")

    assert status == 1
    assert "nothing came by standard input" in said


def test_tokens_are_printed_once_and_log_in(shell: Shell, folder: Path) -> None:
    """Alone, or with the authority, in one file."""
    status, token, _ = shell("tokens", "issue", "--role", "observer", "ci")
    assert status == 0
    assert re.fullmatch(r"vmt_[0-9a-f]{12}_[\w-]{32}\n", token)
    assert token.strip() not in shell("tokens", "list")[1] + shell("--json", "tokens", "list")[1]
    with tls_kernel(folder, certificates=False) as kernel:
        both = shell("tokens", "issue", "--role", "observer", "ci", "-")[1]
        assert shell("login", kernel.address, "-", stdin=both)[0] == 0
        assert shell("--address", kernel.address, "devices")[0] == 0
        alone = ("login", kernel.address, "--token", "-", "--ca", folder / CA)
        assert shell(*alone, stdin=token)[0] == 0

    assert shell("tokens", "revoke", "ci")[0] == 0
    states = [one["state"] for one in json.loads(shell("--json", "tokens", "list")[1])]
    assert states == ["revoked", "revoked"]


def test_a_token_in_the_wrong_place_is_not_taken_and_not_repeated(
    shell: Shell, folder: Path
) -> None:
    """On a command line others see it, and errors get into logs."""
    token = shell("tokens", "issue", "--role", "observer", "ci")[1].strip()

    for wrong in (
        ("login", f"https://{token}@machine.example:50051", "-"),
        ("login", "machine.example", token),
        ("login", "machine.example", "--token", token, "--ca", folder / CA),
    ):
        status, out, said = shell(*wrong)
        assert status == 2
        assert token not in out + said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("login",), "name the machine"),
        (("login", "unix:/run/kernel.sock", "-"), "needs no login"),
        (("login", "machine.example"), "BUNDLE"),
        (("login", "machine.example:99999", "-"), "no address"),
        (("login", "machine.example", "-", "--ca", "x"), "BUNDLE"),
        (("certs", "issue", "alice"), "--role"),
        (("certs", "issue", "--role", "god", "alice"), "god"),
        (("certs", "issue", "--role", "owner", "../alice"), "no name"),
        (("certs", "issue", "--role", "owner", "--days", "0", "alice"), "days"),
    ],
)
def test_wrong_usage_says_what_to_write(
    shell: Shell, arguments: tuple[str, ...], words: str
) -> None:
    """In one line, before anything is made."""
    status, out, said = shell(*arguments)
    assert (status, out) == (2, "")
    assert words in said


def test_what_was_never_issued_can_not_be_revoked(shell: Shell, tmp_path: Path) -> None:
    """And a folder that is none is said to be."""
    status, _, said = shell("certs", "revoke", "nobody")
    assert (status, "nobody" in said) == (1, True)
    status, _, said = shell("certs", "list", "--folder", tmp_path / "nowhere")
    assert (status, "certs init" in said) == (1, True)
