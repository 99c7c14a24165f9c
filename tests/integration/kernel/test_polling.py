"""A disk whose queues poll before they sleep: how that is set, and where it is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.integration.kernel.test_storage_errors import metric

if TYPE_CHECKING:
    from tests.support.cli import Cli

pytestmark = pytest.mark.processes

BLOCK = 4096


def use(cli: Cli, option: str) -> tuple[virtmesh_client.DiskInfo, float, str]:
    """Use a disk with an option; return what it says, its polls, and what is shown of it."""
    cli.up("--no-serial", "--disk", f"disk.img,size=1M,{option}")
    with virtmesh_client.connect(cli.state.address) as machine:
        disk = machine.disk("vda")
        for block in range(4):
            disk.write(block * BLOCK, bytes([block]) * BLOCK)
        assert disk.read(3 * BLOCK, BLOCK) == b"\x03" * BLOCK
        info = disk.info()
    polls = metric(cli, "virtmesh_blk_polls_total", "won")
    polls += metric(cli, "virtmesh_blk_polls_total", "lost")
    return info, polls, cli("blk", "info", "vda").stdout


def test_a_disk_polls_for_the_time_that_is_given(cli: Cli) -> None:
    """Given, it does so on one processor, too: each queue tries it at its beginning."""
    info, polls, shown = use(cli, "poll-us=1000")
    assert info.poll_us == 1000
    assert polls > 0
    assert "at most 1000 us" in shown


def test_a_time_of_0_turns_it_off(cli: Cli) -> None:
    """Nothing is polled, and that is said."""
    info, polls, shown = use(cli, "poll-us=0")
    assert info.poll_us == 0
    assert polls == 0
    assert "never" in shown
