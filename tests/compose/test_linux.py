"""Debian's riscv64 Linux on the containers of the devices. $VIRTMESH_GUESTS has its parts."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.compose.conftest import Stack, with_cpu
from tests.support.riscv.console import reach_shell, running
from tests.support.riscv.parts import Parts

if TYPE_CHECKING:
    import docker

PARTS = "VIRTMESH_GUESTS"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not os.environ.get(PARTS), reason=f"set {PARTS} to what tools/guests.sh has filled"
    ),
]
COPY = (
    "head -c 400000 /dev/urandom >/tmp/f; i=0; while [ $i -lt 40 ]; do"
    " dd if=/tmp/f of=/dev/vda bs=4000 conv=fsync 2>/dev/null || break; i=$((i+1)); done; echo $i"
)
"""Writes to the disk over and over; each time it is synced."""


def test_linux_goes_on_when_its_disk_is_killed(
    engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It boots to a shell on the console, writes while the disk's process dies, reads it back."""
    parts = Parts(Path(os.environ[PARTS]).absolute() / "riscv64")
    files = {"FIRMWARE": parts.firmware.name, "INITRD": parts.initramfs.name}
    guest = {**files, "APPEND": "console=ttyS0 guest.mount=no", "TIME": "instructions"}
    with with_cpu(engine, parts.folder, parts.kernel.name, **guest) as stack:
        address = stack.address("kernel", 50051)
        monkeypatch.setenv("VIRTMESH_CREDENTIALS", str(stack.bundle))
        program = [sys.executable, "-P", "-m", "virtmesh_client", "--address", address]
        with running([*program, "console"], tmp_path) as console:
            console.console.sendline("")
            reach_shell(console)
            console.begin(COPY)
            os.kill(stack.services["disk"].attrs["State"]["Pid"], signal.SIGKILL)
            Stack.eventually(lambda: restorations(stack) == 1, "the disk is set up again")
            written = console.finish()
            console.run("echo 3 >/proc/sys/vm/drop_caches")
            compared = console.run("head -c 400000 /dev/vda | cmp - /tmp/f && echo the same")
            errors = console.run("dmesg | grep -E 'I/O error|blk_update' || true")

    assert written == "40\n"
    assert compared == "the same\n"
    assert errors == ""


def restorations(stack: Stack) -> int:
    """Return how often a device was set up again."""
    lines = dict(line.split() for line in stack.virtmesh("cpu", "stats").splitlines())
    return int(lines["restorations"])
