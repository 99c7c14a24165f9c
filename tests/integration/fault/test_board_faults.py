"""Faults on demand as a guest of our processor meets them."""

from __future__ import annotations

import pytest

import virtmesh_client
from tests.support.cli import Cli, eventually
from tests.support.riscv.small_kernels import COMPILER, DISK_GUEST, build_c, has_compiler

pytestmark = pytest.mark.processes

REQUEST_FAILED, OTHER_DATA = 2, 3
"""Codes of the kernel's end (disk_guest.c)."""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("io-error type=write limit=1", REQUEST_FAILED),
        ("corrupt-write after=10 limit=1", OTHER_DATA),
        ("torn-write bytes=100 limit=1", OTHER_DATA),
    ],
)
def test_a_guest_of_the_board_meets_the_fault(cli: Cli, words: str, code: int) -> None:
    """It works on its disk for ever, until the fault: it sees what any driver would."""
    if not has_compiler():
        pytest.skip(f"{COMPILER} is not installed")
    kernel = build_c(cli.folder, DISK_GUEST)
    ran = cli("boot", "--detach", kernel, "--disk=vda.img,size=1M")
    assert ran.returncode == 0, ran.stderr
    with virtmesh_client.connect(cli.state.address) as machine:
        faults = machine.faults("vda")
        eventually(lambda: "virtmesh_blk" in machine.metrics("vda"))
        faults.add(words)
        eventually(lambda: machine.cpu().status().state == "off")
        status = machine.cpu().status()
        assert (status.reason, status.code) == ("fail", code)
        assert faults.list()[0].hits == 1
