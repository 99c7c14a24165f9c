"""Faults on demand of a disk, as people order them, and what shows them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import eventually
from virtmesh_client.trace.reader import read_traces
from virtmesh_common.blk.errors import BlockIOError
from virtmesh_common.errors import BadValue
from virtmesh_common.fault.errors import FaultNotFound, TooManyFaults

if TYPE_CHECKING:
    from tests.support.cli import Cli

pytestmark = pytest.mark.processes

BLOCK = 4096


def failed_reads(machine: virtmesh_client.Machine, count: int) -> list[int]:
    """Read one block after the other; return which reads failed."""
    failed = []
    for number in range(count):
        try:
            machine.disk("vda").read(number * BLOCK, BLOCK)
        except BlockIOError as error:
            failed.append((number, error.metadata))
    assert {facts["cause"] for _, facts in failed} <= {"INJECTED"}
    assert all(int(facts["sector"]) * 512 == number * BLOCK for number, facts in failed)
    return [number for number, _ in failed]


def test_a_fault_is_seen_counted_recorded_logged_and_taken_back(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """By the command; the client's error says why, and a read after it works."""
    ran = cli("fault", "add", "vda", "io-error", "type=read", "after=2", "every=3", "limit=2")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("fault 1 of vda: io-error type=read after=2 every=3 limit=2 seed=")

    assert failed_reads(machine, 12) == [4, 7]

    (found,) = json.loads(cli("fault", "list", "--json").stdout)
    assert (found["seen"], found["hits"], found["device"]) == (12, 2, "vda")
    page = machine.metrics("vda").splitlines()
    (injected_line,) = (one for one in page if one.startswith("virtmesh_faults_injected_total"))
    assert 'kind="io-error"' in injected_line
    assert injected_line.endswith(" 2.0")
    (ordered,) = (one for one in page if one.startswith("virtmesh_faults_ordered"))
    assert ordered.endswith(" 1.0")
    injected = [
        event for event in read_traces(machine.channel, ["vda"]) if event.kind == "injected"
    ]
    assert [(one.value, one.extra) for one in injected] == [(1, 4), (1, 7)]
    assert "INJECTED io-error (fault 1, its event 4)" in cli("trace", "-d", "vda").stdout
    log = cli.run_dir / "vda.log"
    eventually(lambda: "a fault took hold" in log.read_text())
    ran = cli("fault", "clear", "vda", "1")
    assert (ran.returncode, "io-error type=read" in ran.stdout) == (0, True)
    assert cli("fault", "list").stdout == "no faults are ordered\n"


def test_a_seed_gives_the_same_faults_again(machine: virtmesh_client.Machine) -> None:
    """Another seed gives others; a seed that the service chose is told, and does too."""
    faults = machine.faults("vda")

    def run(words: str) -> tuple[list[int], int]:
        fault = faults.add(words)
        failed = failed_reads(machine, 40)
        assert faults.clear()[0].hits == len(failed)
        assert fault.spec.seed is not None
        return failed, fault.spec.seed

    first, _ = run("io-error probability=0.3 seed=7")
    assert 0 < len(first) < 40
    assert run("io-error probability=0.3 seed=7")[0] == first
    assert run("io-error probability=0.3 seed=8")[0] != first
    chosen, seed = run("io-error probability=0.3")
    assert run(f"io-error probability=0.3 seed={seed}")[0] == chosen


def test_a_write_that_fails_writes_nothing_and_a_flush_can_fail(
    machine: virtmesh_client.Machine,
) -> None:
    """By the type of the request, and by the sectors that it touches."""
    disk, faults = machine.disk("vda"), machine.faults("vda")
    disk.write(0, b"\xaa" * 3 * BLOCK)
    faults.add("io-error type=write sectors=8-15")
    with pytest.raises(BlockIOError):
        disk.write(BLOCK, b"\xbb" * BLOCK)
    disk.write(2 * BLOCK, b"\xcc" * BLOCK)
    assert disk.read(0, 3 * BLOCK) == b"\xaa" * 2 * BLOCK + b"\xcc" * BLOCK
    faults.add("io-error type=flush limit=1")
    with pytest.raises(BlockIOError):
        disk.flush()
    disk.flush()


def test_a_reset_leaves_faults_and_a_restart_ends_them(
    machine: virtmesh_client.Machine,
) -> None:
    """They are the process's: a fault that ends it does not come again."""
    machine.faults("vda").add("io-error type=flush")
    assert machine.reset("vda") == "ready"
    with pytest.raises(BlockIOError):
        machine.disk("vda").flush()
    assert machine.restart("vda") == "ready"
    machine.disk("vda").flush()
    assert machine.faults("vda").list() == ()


def test_a_machine_file_orders_faults_from_the_start_on_and_again_after_a_restart(
    cli: Cli,
) -> None:
    """The counts of the service that ended are gone with it."""
    (cli.folder / "machine.toml").write_text(
        '[[devices]]\nname = "vda"\nkind = "blk"\nfaults = ["io-error type=flush limit=1 seed=3"]\n'
        'options = { image = "disk.img", size = "16M" }\n'
    )
    cli.up("machine.toml")
    with virtmesh_client.connect(cli.state.address) as machine:
        for _ in range(2):
            with pytest.raises(BlockIOError):
                machine.disk("vda").flush()
            machine.disk("vda").flush()
            (found,) = machine.faults("vda").list()
            assert (str(found.spec), found.hits) == ("io-error type=flush limit=1 seed=3", 1)
            assert machine.restart("vda") == "ready"


def test_what_can_not_be_is_refused(cli: Cli, machine: virtmesh_client.Machine) -> None:
    """In words, by number, by queue, and beyond the most there can be."""
    ran = cli("fault", "add", "vda", "io-error", "every=none")
    assert (ran.returncode, "every: 'none' is no number" in ran.stderr) == (2, True)
    faults = machine.faults("vda")
    with pytest.raises(BadValue, match="vda has no queue 9"):
        faults.add("io-error queue=9")
    kept = faults.add("io-error type=get-id")
    with pytest.raises(FaultNotFound, match="vda has no fault 99"):
        faults.clear([kept.number, 99])
    assert faults.list() == (kept,)
    for _ in range(63):
        faults.add("io-error type=get-id")
    with pytest.raises(TooManyFaults, match="vda has 64 faults"):
        faults.add("io-error type=get-id")
    assert len(faults.clear()) == 64


async def test_asyncio_has_the_same(machine: virtmesh_client.Machine) -> None:
    """Awaited, while other requests are under way."""
    async with await virtmesh_client.aconnect(machine.address) as connected:
        faults = connected.faults("vda")
        await faults.add("io-error type=read every=2")
        disk = connected.disk("vda")
        answers = await asyncio.gather(
            *(disk.read(number * BLOCK, BLOCK) for number in range(10)), return_exceptions=True
        )
        (fault,) = await faults.clear()
        assert sum(isinstance(one, BlockIOError) for one in answers) == fault.hits > 0
        with contextlib.suppress(BlockIOError):
            await disk.read(0, BLOCK)
        assert await faults.list() == ()
