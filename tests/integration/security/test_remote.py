"""docs/security.md is typed: the client's lines on another host, a network namespace of its own."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.cli import own_folder
from tests.support.two_hosts import FAR_ADDRESS, NEAR_ADDRESS, TwoHosts, two_hosts
from virtmesh_client.local import rundir

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

PAGE = ROOT / "docs" / "security.md"
SECTION = re.compile(r"^## A client on another host\n(.*?)^## ", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(toml|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^(machine|client)\$ (.*)\n((?:(?!machine\$ |client\$ ).*\n)*)", re.MULTILINE)
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
EXPORT = "export "
SSH = """#!/bin/sh
shift
exec {command} env XDG_CONFIG_HOME={config} "$@"
"""
"""Stands for ssh(1): it runs a command on the other host, as its user."""
LIMIT_S = 90


@dataclass
class Reader:
    """Who types the page: on two hosts, with two home folders."""

    hosts: TwoHosts
    folder: Path
    environment: dict[str, str]

    def place(self, text: str) -> str:
        """Put the hosts and folders of this test into a text of the page."""
        for name, real in (
            ("machine.example", NEAR_ADDRESS),
            ("client.example", FAR_ADDRESS),
            ("/srv/lab", str(self.folder)),
        ):
            text = text.replace(name, real)
        return text

    def type(self, where: str, line: str) -> str:
        """Run a line on one of the hosts; return what it prints, errors too."""
        host = self.hosts.near if where == "machine" else self.hosts.far
        done = subprocess.run(
            self.hosts.command(host, "bash", "-o", "pipefail", "-c", line),
            cwd=self.folder,
            env={**self.environment, "XDG_CONFIG_HOME": str(self.folder / where)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return done.stdout


@pytest.fixture
def reader() -> Iterator[Reader]:
    """Make two hosts, and a program that runs commands on the other one."""
    with two_hosts() as hosts, own_folder() as cli:
        tools = cli.folder / "tools"
        tools.mkdir()
        ssh = tools / "ssh"
        command = " ".join(hosts.command(hosts.far))
        ssh.write_text(SSH.format(command=command, config=cli.folder / "client"))
        ssh.chmod(0o755)
        path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, rundir.VARIABLE: str(cli.run_dir)}
        yield Reader(hosts, cli.folder, environment)


def test_the_page_works_as_it_stands(reader: Reader) -> None:
    """Certificates, a log-in from another host, calls, revocation."""
    section = SECTION.search(PAGE.read_text())
    assert section is not None
    typed = []
    for kind, text in BLOCK.findall(section[1]):
        placed = reader.place(text)
        if kind == "toml":
            (reader.folder / "machine.toml").write_text(placed)
            continue
        for where, line, expected in LINE.findall(placed):
            typed.append(where)
            if line.startswith(EXPORT):
                name, _, value = line.removeprefix(EXPORT).partition("=")
                reader.environment[name] = value
                continue
            printed = reader.type(where, line)
            assert doctest.OutputChecker().check_output(expected, printed, LOOSE), (
                f"{where}$ {line}\n--- printed:\n{printed}--- the page:\n{expected}"
            )

    assert typed.count("client") >= 5
