"""A script on another host logs in on a guest's serial console, and types at its keyboard."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import virtmesh_client
from tests.support import ROOT
from tests.support.cli import Cli
from tests.support.two_hosts import NEAR_ADDRESS, TwoHosts, two_hosts
from virtmesh_client.local import rundir
from virtmesh_client.security import choice
from virtmesh_common.security.authority import Authority
from virtmesh_common.security.roles import Role

ADDRESS = f"{NEAR_ADDRESS}:50051"
MACHINE = f"""
name = "near"

[kernel]
listen = ["unix:kernel.sock", "{ADDRESS}"]

[security]
folder = "security"

[[devices]]
name = "serial"
kind = "uart"

[[devices]]
name = "keyboard"
kind = "input"
vhost-user = true

[devices.options]
personality = "keyboard"
"""
SCRIPT = ROOT / "clients" / "examples" / "guest_login.py"
TRANSCRIPT = "VIRTMESH_TRANSCRIPT"
"""Names a file that gets what the script prints."""
SECONDS = 300
BUNDLE = "script.pem"
"""What the other host shows."""


@dataclass(frozen=True)
class Rig:
    """A machine on the near host."""

    hosts: TwoHosts
    cli: Cli

    def near(self, *arguments: object) -> str:
        """Run `virtmesh` on the host of the machine. Returns its standard output."""
        return self._run(self.hosts.near, "-m", "virtmesh_client", *map(str, arguments))

    def far(self, *arguments: str) -> str:
        """Run Python on the other host, which has nothing of the machine but its address."""
        return self._run(self.hosts.far, *arguments)

    def _run(self, host: str, *arguments: str) -> str:
        done = subprocess.run(
            self.hosts.command(host, sys.executable, *arguments),
            cwd=self.cli.folder,
            env={
                **os.environ,
                rundir.VARIABLE: str(self.cli.run_dir),
                choice.BUNDLE_VARIABLE: str(self.cli.folder / BUNDLE),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def rig(cli: Cli) -> Iterator[Rig]:
    """Start the machine on one of two hosts."""
    with two_hosts() as hosts:
        (cli.folder / "machine.toml").write_text(MACHINE)
        with Authority.create(cli.folder / "security", [NEAR_ADDRESS]) as authority:
            _, bundle = authority.issue("script", Role.OPERATOR)
        (cli.folder / BUNDLE).write_text(bundle.spell())
        rig = Rig(hosts, cli)
        rig.near("up", "--detach", "machine.toml")
        try:
            yield rig
        finally:
            rig.near("down")


def test_a_script_on_another_host_logs_in_and_types(
    rig: Rig, qemu_options: Sequence[str], input_boot: object
) -> None:
    """Its transcript has the log-in, and the text as a program and a screen received it."""
    del input_boot  # It skips this where no QEMU can connect a keyboard.
    rig.near("guest", "qemu", *qemu_options, "--detach", "--login")

    transcript = rig.far(str(SCRIPT), ADDRESS)
    if os.environ.get(TRANSCRIPT):
        Path(os.environ[TRANSCRIPT]).write_text(transcript)
    elsewhere = rig.far("-m", "virtmesh_client", "guest", "stop", "--address", ADDRESS)
    with virtmesh_client.connect(rig.cli.state.address) as machine:
        left = machine.guests()

    assert "virtmesh login:\n" in transcript
    assert "virtmesh keyboard\n" in transcript
    assert transcript.count("\nHello from another host\n") == 2  # The program's, and the screen's.
    assert transcript.endswith("[the guest received what was typed, and shows it on its screen]\n")
    assert (elsewhere, left) == ("", [])
