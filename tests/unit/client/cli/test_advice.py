"""What the product tells people to do: each command is there, and is not the one that failed."""

from __future__ import annotations

import ast
import errno
import os
import re
import socket
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from tests.support import ROOT
from tests.support.ports import free_port
from virtmesh.host.main import main as device_cli
from virtmesh_client.cli.advice import HINTS, advice_for, advice_for_socket
from virtmesh_client.cli.errors import explain
from virtmesh_client.cli.root import cli
from virtmesh_client.cli.run import run
from virtmesh_common import errors
from virtmesh_common.blk.errors import BlockReadOnly

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = ("clients/virtmesh_client", "common/virtmesh_common", "services/virtmesh")
PROGRAMS = {"virtmesh": cli, "virtmesh-device": device_cli}
NAMED = re.compile(
    r"`(virtmesh(?:-device)? [^`]+)`|(?:run|see|with) (virtmesh(?:-device)? [^;,:]+?)(?=[;,:.]|$)"
)
"""A command line in a message: between grave accents, or behind a word that tells to run it."""
HOLE = "HOLE"
"""Stands for what a message fills in."""


def messages() -> Iterator[tuple[str, str]]:
    """Yield the texts of the product's own code that are no docstrings, with their places."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "/api/" in str(path):
                continue
            tree = ast.parse(path.read_text())
            # A text that stands alone says what the line before it is.
            inside = {
                id(part)
                for node in ast.walk(tree)
                if isinstance(node, (ast.Expr, ast.JoinedStr))
                for part in ast.walk(node)
                if part is not node and not isinstance(node, ast.Expr)
            }
            alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if id(node) in inside | alone:
                    continue
                text = text_of(node)
                if text:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", text  # type: ignore[attr-defined]


def text_of(node: ast.AST) -> str:
    """Return the text of a string or an f-string, with holes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or HOLE for part in node.values)
    return ""


def named_commands() -> list[tuple[str, str]]:
    """Return each command line that a message names, with its place."""
    return [
        (place, match[1] or match[2])
        for place, text in messages()
        for match in NAMED.finditer(text)
    ]


def is_option(word: str) -> bool:
    """Say whether a word is an option; - alone is standard input."""
    return word.startswith("-") and word != "-"


def check(line: str) -> None:
    """Find the command of a line, and its options. Errors: AssertionError."""
    program, *words = line.split()
    command: click.Command = PROGRAMS[program]
    context = click.Context(command, info_name=program)
    while isinstance(command, click.Group) and words and not is_option(words[0]):
        if words[0] == HOLE or words[0].isupper():
            return
        name, found, words = command.resolve_command(context, list(words))
        assert found is not None, line
        command, context = found, click.Context(found, info_name=name, parent=context)
    known = {
        name for one in command.get_params(context) for name in (*one.opts, *one.secondary_opts)
    }
    assert {word for word in words if is_option(word)} <= known, line


def test_messages_name_commands() -> None:
    """The search finds some: those of the advice, and others."""
    found = named_commands()
    assert len(found) > 20
    assert any("advice.py" in place for place, _ in found)
    assert any("services/" in place for place, _ in found)


@pytest.mark.parametrize(("place", "line"), named_commands(), ids=lambda one: one)
def test_a_command_that_a_message_names_is_there(place: str, line: str) -> None:
    """With the options that it is named with."""
    assert place
    check(line)


@pytest.mark.parametrize(
    "line", ["virtmesh blk frobnicate", "virtmesh blk info --frobnicate", "virtmesh-device net"]
)
def test_a_command_that_is_not_there_would_be_found(line: str) -> None:
    """The check can fail."""
    with pytest.raises((AssertionError, click.UsageError)):
        check(line)


def test_messages_install_only_what_there_is() -> None:
    """A distribution of the project, and no extra that it does not have."""
    projects = [
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        for folder in ("services", "clients")
    ]
    offered = {
        f"{project['name']}[{extra}]"
        for project in projects
        for extra in (*project["optional-dependencies"], HOLE)  # see test_extras.py
    }
    install = re.compile(r"pip install '?([\w\[\]-]+)")
    named = {match[1] for _, text in messages() for match in install.finditer(text)}
    assert "virtmesh" in named
    assert named <= {"virtmesh", *offered}


@pytest.mark.parametrize(("kind", "text"), HINTS, ids=lambda one: getattr(one, "__name__", one))
def test_no_advice_is_the_command_that_failed(kind: type[Exception], text: str) -> None:
    """Whatever its arguments."""
    error = kind("it went wrong")
    assert text in explain(error, ["other", "command"]).message
    for match in re.finditer(r"`virtmesh ([a-z -]+[a-z])", text):
        for arguments in (match[1].split(), ["--json", *match[1].split(), "vda", "off"]):
            assert text not in explain(error, arguments).message


def test_a_disk_that_stays_read_only_is_not_told_the_same_again() -> None:
    """`read-only off` on a disk whose image is opened for reading alone."""
    error = BlockReadOnly("vda: the image is open for reading only")
    assert advice_for(error, ["blk", "read-only", "vda", "off"]) == ""
    assert "read-only DEVICE off" in advice_for(error, ["blk", "write", "vda"])


def test_what_no_option_replaces_has_no_advice_to_replace_it() -> None:
    """A console has no --force."""
    there = "the path exists and is not a symbolic link: choose another path"
    assert advice_for(FileExistsError(errno.EEXIST, there, "x"), ["console"]) == ""
    assert "--force" in advice_for(FileExistsError(errno.EEXIST, "File exists", "x"), ["blk"])


def test_an_address_of_a_device_is_not_that_of_a_machine() -> None:
    """Nothing is wrong with the call."""
    message = explain(errors.NotOffered("unix:/vda.sock does not offer this call")).message
    assert "is that a kernel service" in message
    assert "virtmesh status" in message
    other = errors.NotOffered("GetInfo is not forwarded: vda offers nothing")
    assert "kernel service" not in explain(other).message


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the working folder: paths of sockets are short."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bind(path: Path) -> socket.socket:
    """Bind a unix socket; nobody listens."""
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(path.name)
    return bound


def line_of(capture: pytest.CaptureFixture[str], address: str) -> str:
    """Return what `virtmesh devices` says about an address where nobody answers."""
    assert run(["--insecure", "--address", address, "devices"]) == 3
    (line,) = capture.readouterr().err.splitlines()
    return line


def test_each_cause_of_a_unix_socket_has_its_words(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """None of them speaks of starting a machine: the address was given."""
    (folder / "file").touch()
    bind(folder / "stale").close()
    said = {name: line_of(capfd, f"unix:{name}") for name in ("missing", "file", "stale", ".")}
    assert "there is no socket of that name" in said["missing"]
    assert "that is no socket but a file" in said["file"]
    assert "nobody serves any more" in said["stale"]
    assert "that is no socket but a folder" in said["."]
    assert not any("virtmesh up" in line for line in said.values())
    assert run(["--address", f"unix:{'x' * 200}", "devices"]) == 2
    assert "longer than 107 bytes" in capfd.readouterr().err


@pytest.mark.parametrize("closed", ["folder", "socket"])
def test_a_socket_of_another_user_is_no_machine_that_is_down(folder: Path, closed: str) -> None:
    """Tried as a user who has no rights to it, in a process of its own."""
    inner = folder / "inner"
    inner.mkdir()
    path = inner / "kernel.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(path))
        os.chmod({"folder": inner, "socket": path}[closed], 0)  # noqa: PTH101
        try:
            with pytest.MonkeyPatch.context() as patch:
                if os.geteuid() == 0:  # for root, nothing is closed
                    refuse(patch, path, closed)
                advice = advice_for_socket(str(path), "Permission denied")
        finally:
            inner.chmod(0o700)
    assert "this user may not use that socket" in advice


def refuse(patch: pytest.MonkeyPatch, path: Path, closed: str) -> None:
    """Answer as the system does to a user without rights."""
    ask = os.stat

    def denied(name: str, **options: object) -> os.stat_result:
        if closed == "folder" and name == str(path):
            raise PermissionError(13, "Permission denied", name)
        return ask(name, **options)  # type: ignore[arg-type]

    patch.setattr(os, "stat", denied)
    patch.setattr(os, "access", lambda *_: False)


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("Connection refused", "nothing listens there: check the port"),
        ("No route to host", "check the address, the network"),
        ("Network is unreachable", "check the address, the network"),
        ("the connection timed out", "check the address, the network"),
        ("its name is not known: check the spelling and the DNS", "write the address as a number"),
        ("the proxy answered 403 (through the proxy of http_proxy=p:1: add x to no_proxy)", ""),
    ],
)
def test_each_cause_of_a_tcp_address_has_its_words(cause: str, words: str) -> None:
    """The causes are those that virtmesh_common.transport makes of gRPC's texts."""
    error = errors.ServiceUnavailable(f"no service answers at x:1: {cause}", address="x:1")
    advice = advice_for(error, ["devices"])
    assert words in advice
    assert "virtmesh" not in advice


def test_a_refused_port_and_an_unknown_name(capfd: pytest.CaptureFixture[str]) -> None:
    """Over real sockets."""
    assert "nothing listens there" in line_of(capfd, f"127.0.0.1:{free_port()}")
    assert "write the address as a number" in line_of(capfd, "nobody.invalid:1")
