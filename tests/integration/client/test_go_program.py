"""A client in another language: the Go program of the examples, built from the protos, types."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT
from tests.support.cli import own_folder
from tests.support.ports import free_port
from tools.protos import get_generator
from virtmesh_common.security.authority import Authority
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cli import Cli

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

EXAMPLE = "clients/examples/go"
SENTENCE = 'Hello, world: "it works" (100 %)!'


@pytest.fixture(scope="module")
def go() -> str:
    """Return the folder of a Go that is new enough."""
    found = subprocess.run([ROOT / "tools" / "go.sh"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(found.stderr.strip() or "there is no Go")
    return found.stdout.strip()


@pytest.fixture(scope="module")
def typist(go: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate the code of the protos beside a copy of the program, and build it."""
    folder = tmp_path_factory.mktemp("tree")
    (folder / "protos").symlink_to(ROOT / "protos")
    left_out = shutil.ignore_patterns("api", "bin", "typist")
    place = shutil.copytree(ROOT / EXAMPLE, folder / EXAMPLE, ignore=left_out)
    environment = {
        **os.environ,
        "PATH": f"{go}:{os.environ['PATH']}",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly",
        "PYTHONPATH": str(get_generator()),
    }
    for command in (["./generate.sh", sys.executable], ["go", "vet", "."], ["go", "build", "."]):
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return place / "virtmesh"


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """Start a machine with a keyboard, on a unix socket."""
    with own_folder() as cli:
        (cli.folder / "machine.toml").write_text(
            'name = "m"\n[[devices]]\nname = "keyboard"\nkind = "input"\n'
            '[devices.options]\npersonality = "keyboard"\n'
            f'[kernel]\nlisten = ["unix:kernel.sock", "127.0.0.1:{free_port()}"]\n'
            f'[security]\nfolder = "{cli.folder}/security"\n'
        )
        Authority.create(cli.folder / "security").close()
        cli.up("machine.toml")
        yield cli


def test_a_sentence_is_typed_and_read_back(cli: Cli, typist: Path) -> None:
    """By one Type call, through the kernel service, and a watch of its driver."""
    done = subprocess.run(
        [typist, cli.state.address, SENTENCE], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.stdout) == ("", f"{SENTENCE}\n")


def test_it_connects_by_mutual_tls(cli: Cli, typist: Path) -> None:
    """With a bundle as it was issued; without one the machine does not talk to it."""
    bundle = cli.folder / "go.pem"
    with Authority.open(cli.folder / "security") as authority:
        bundle.write_text(authority.issue("go", Role.INJECTOR)[1].spell())
    machine = tomllib.loads((cli.folder / "machine.toml").read_text())
    arguments = [machine["kernel"]["listen"][1], SENTENCE]

    done = subprocess.run(
        [typist, "-bundle", bundle, *arguments], capture_output=True, text=True, check=False
    )
    plain = subprocess.run([typist, *arguments], capture_output=True, text=True, check=False)

    assert (done.stderr, done.stdout) == ("", f"{SENTENCE}\n")
    assert plain.returncode == 1
    assert "Unavailable" in plain.stderr


def test_an_error_reaches_the_program(cli: Cli, typist: Path) -> None:
    """With its code and its message."""
    done = subprocess.run(
        [typist, cli.state.address, "漢"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "InvalidArgument" in done.stderr
    assert "'漢' (U+6F22)" in done.stderr
