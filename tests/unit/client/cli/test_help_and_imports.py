"""Help of every command, on any terminal; and what a command imports, which is what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from virtmesh_client.cli.added import SUMMARIES
from virtmesh_client.cli.listed import ListedCommand
from virtmesh_client.cli.root import COMMANDS, cli
from virtmesh_client.testing import FakeKernel

if TYPE_CHECKING:
    from collections.abc import Iterator


def loaded(group: click.Group, name: str) -> click.Command:
    """Return a command of a group, imported."""
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command.load() if isinstance(command, ListedCommand) else command


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of a group, of all groups in it, and of all commands."""
    yield path
    for name in group.list_commands(click.Context(group)):
        command = loaded(group, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


PATHS = list(commands(cli))
GROUPS = [
    path
    for path in PATHS
    if any(other[: len(path)] == path and len(other) > len(path) for other in PATHS)
]


def find(path: tuple[str, ...]) -> click.Command:
    """Return the command of a path."""
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        command = loaded(command, name)
    return command


@pytest.mark.parametrize("columns", ["20", "80", "400"])
@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_has_lines(path: tuple[str, ...], columns: str) -> None:
    """On a narrow, a usual and a wide terminal: usage, what it does, and its options."""
    environment = {"COLUMNS": columns, "NO_COLOR": "1"}
    result = CliRunner().invoke(cli, [*path, "--help"], env=environment)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Usage: ")
    assert "Options:" in lines
    assert len(lines) > 8
    assert "\x1b" not in result.stdout
    assert "\\b" not in result.stdout


@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["plain", "json"])
def test_a_group_without_a_command_is_wrong_usage(
    path: tuple[str, ...], options: tuple[str, ...]
) -> None:
    """It shows its help in lines; a program gets one object."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "virtmesh_client", *options, *path],
        env=os.environ | {"VIRTMESH_ADDRESS": "unix:/nowhere.sock"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.splitlines()
    if path == ("trace",):  # a command, too: it shows the trace of the machine
        assert len(lines) == 1
        return
    assert (done.returncode, done.stdout) == (2, "")
    if options:
        assert len(lines) == 1
        assert "USAGE" in lines[0]
        return
    assert lines[0].startswith(f"Usage: {' '.join(('virtmesh', *path))} ")
    assert "Commands:" in lines


def test_a_list_has_the_first_lines_of_the_help() -> None:
    """They stand in tables, so that nothing is imported for a list."""
    tables = {name: summary for name, (_, summary) in COMMANDS.items()} | SUMMARIES
    for name, summary in tables.items():
        command = find(tuple(name.split(".")))
        assert command.get_short_help_str(1000) == summary, name


SHOW = """
import os, sys
from virtmesh_client.cli.run import run
status = run(sys.argv[1:])
sys.stdout.flush()
os.write(2, " ".join(sys.modules).encode())
sys.exit(status)
"""
HEAVY = {"grpc", "google.protobuf", "rich", "asyncio", "platformdirs", "virtmesh_client.library"}


def imported(*arguments: str, **environment: str) -> set[str]:
    """Run a command; return the modules that it has imported."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", SHOW, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]], ids=" ".join)
def test_what_needs_no_machine_imports_no_client(arguments: list[str]) -> None:
    """No gRPC, and none of the commands."""
    modules = imported(*arguments)
    assert not HEAVY & modules
    assert not {one for one in modules if one.endswith((".commands", "cli.machine", "cli.local"))}


@pytest.mark.parametrize(("line", "word"), [("virtmesh ", "1"), ("virtmesh blk ", "2")])
def test_completion_of_words_imports_no_grpc(line: str, word: str) -> None:
    """Only names of devices take a connection."""
    modules = imported(_VIRTMESH_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=word)
    assert "click.shell_completion" in modules
    assert not HEAVY & modules


def test_a_list_of_devices_imports_what_it_uses() -> None:
    """GRPC and the stubs of the kernel; no other device's, and nothing that draws."""
    with FakeKernel(vda=1 << 20) as kernel:
        modules = imported("devices", VIRTMESH_ADDRESS=kernel.address)
    assert "grpc" in modules
    assert not {"rich", "platformdirs", "virtmesh_client.library"} & modules
    stubs = {one for one in modules if one.startswith("virtmesh_common.api.") and "_pb2" in one}
    assert stubs == {
        "virtmesh_common.api.kernel.v1.kernel_pb2",
        "virtmesh_common.api.kernel.v1.kernel_pb2_grpc",
    }
