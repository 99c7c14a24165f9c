"""A disk records for a guest of our processor as it does for any driver."""

from __future__ import annotations

import pytest

import virtmesh_client
from tests.support.cli import Cli, eventually
from tests.support.riscv.small_kernels import COMPILER, DISK_GUEST, build_c, has_compiler
from virtmesh_client.powerloss import read_log

pytestmark = pytest.mark.processes


def test_what_a_guest_of_the_board_writes_is_recorded(cli: Cli) -> None:
    """Its kernel works on its disk until a fault ends it: the log has what the image got."""
    if not has_compiler():
        pytest.skip(f"{COMPILER} is not installed")
    kernel = build_c(cli.folder, DISK_GUEST)
    ran = cli("boot", "--detach", kernel, "--disk=vda.img,size=1M,write-log=vda.log")
    assert ran.returncode == 0, ran.stderr
    with virtmesh_client.connect(cli.state.address) as machine:
        eventually(lambda: read_log(cli.folder / "vda.log").writes)
        machine.faults("vda").add("io-error type=write limit=1")
        eventually(lambda: machine.cpu().status().state == "off")
        assert machine.disk("vda").mark("done") > 1
    log = read_log(cli.folder / "vda.log")
    assert [one.text for one in log.marks] == ["done"]
    recorded = log.path.read_bytes()
    replayed = bytearray(1 << 20)
    for write in log.writes:
        assert write.place is not None
        data = recorded[write.place : write.place + write.sectors * 512]
        replayed[write.sector * 512 : write.end * 512] = data
    assert replayed == (cli.folder / "vda.img").read_bytes()
