"""What faults of a disk do to its requests: delayed, hanging, torn, corrupt."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import eventually
from virtmesh_common.blk.errors import BlockIOError
from virtmesh_common.errors import DeviceLost

if TYPE_CHECKING:
    import virtmesh_client

pytestmark = pytest.mark.processes

BLOCK = 4096
DELAY_S = 0.2


def timed(machine: virtmesh_client.Machine, offset: int) -> float:
    """Read a block; return how long that took, in seconds."""
    begun = time.monotonic()
    machine.disk("vda").read(offset, BLOCK)
    return time.monotonic() - begun


def test_a_delayed_request_takes_at_least_as_long(machine: virtmesh_client.Machine) -> None:
    """It is executed then: what it reads is right. The fault says how long it was."""
    machine.disk("vda").write(BLOCK, b"\x77" * BLOCK)
    faults = machine.faults("vda")
    faults.add(f"delay type=read sectors=8-15 delay={DELAY_S}s limit=2")
    assert timed(machine, BLOCK) >= DELAY_S
    assert machine.disk("vda").read(BLOCK, BLOCK) == b"\x77" * BLOCK
    timed(machine, BLOCK)
    (found,) = faults.list()
    assert (found.seen, found.hits, found.last) == (3, 2, "200000 us at sector 8")


def test_delays_of_a_seed_are_the_same_again(machine: virtmesh_client.Machine) -> None:
    """By a distribution: which delays, in which order."""
    faults = machine.faults("vda")

    def run(words: str) -> list[str]:
        faults.add(words)
        found = []
        for _ in range(8):
            timed(machine, 0)
            found.append(faults.list()[0].last)
        faults.clear()
        return found

    for words in ("delay delay=1us-9ms", "delay delay=exp:1ms"):
        first = run(f"{words} seed=5")
        assert len(set(first)) > 4
        assert run(f"{words} seed=5") == first
        assert run(f"{words} seed=6") != first


def test_a_hanging_request_goes_on_when_its_fault_is_taken_back(
    machine: virtmesh_client.Machine,
) -> None:
    """Others do not wait for it meanwhile."""
    disk, faults = machine.disk("vda"), machine.faults("vda")
    disk.write(0, b"\x11" * BLOCK)
    fault = faults.add("hang type=write sectors=0-7")
    with ThreadPoolExecutor(1) as pool:
        write = pool.submit(disk.write, 0, b"\x22" * BLOCK)
        eventually(lambda: faults.list()[0].held == 1)
        disk.write(BLOCK, b"\x33" * BLOCK)
        assert disk.read(BLOCK, BLOCK) == b"\x33" * BLOCK
        assert not write.done()
        (ended,) = faults.clear([fault.number])
        assert (ended.hits, ended.held) == (1, 1)
        write.result(timeout=30)
    assert disk.read(0, BLOCK) == b"\x22" * BLOCK


def test_a_reset_ends_a_hanging_request(machine: virtmesh_client.Machine) -> None:
    """In time, though the fault stays; nothing of the request is executed later."""
    disk, faults = machine.disk("vda"), machine.faults("vda")
    disk.write(0, b"\x11" * BLOCK)
    faults.add("hang type=write limit=1")
    with ThreadPoolExecutor(1) as pool:
        write = pool.submit(disk.write, 0, b"\x22" * BLOCK)
        eventually(lambda: faults.list()[0].held == 1)
        assert machine.reset("vda") == "ready"
        with pytest.raises(DeviceLost):
            write.result(timeout=30)
    assert [one.held for one in faults.list()] == [0]
    faults.clear()
    assert disk.read(0, BLOCK) == b"\x11" * BLOCK


def test_a_torn_write_leaves_the_rest_as_it_was(machine: virtmesh_client.Machine) -> None:
    """It completes without an error; the fault says which bytes were written."""
    disk, faults = machine.disk("vda"), machine.faults("vda")
    disk.write(0, b"\x11" * BLOCK)
    faults.add("torn-write bytes=1000")
    disk.write(0, b"\x22" * BLOCK)
    assert disk.read(0, BLOCK) == b"\x22" * 1000 + b"\x11" * (BLOCK - 1000)
    said = "torn: of the 4096 bytes at sector 0 the first 1000 are written"
    assert faults.clear()[0].last == said

    faults.add("torn-write seed=4")
    disk.write(0, b"\x33" * BLOCK)
    data = disk.read(0, BLOCK)
    written = data.count(b"\x33")
    assert (written % 512, data) == (0, b"\x33" * written + data[written:])
    assert f"the first {written} are written" in faults.clear()[0].last


def test_a_corrupt_write_differs_in_the_bytes_that_are_named(
    machine: virtmesh_client.Machine,
) -> None:
    """By chance which, but each is another than was written."""
    disk, faults = machine.disk("vda"), machine.faults("vda")
    faults.add("corrupt-write bytes=3 seed=11")
    disk.write(BLOCK, bytes(BLOCK))
    data = disk.read(BLOCK, BLOCK)
    said = faults.clear()[0].last
    changed = {place: value for place, value in enumerate(data) if value}
    assert len(changed) == 3
    assert all(f"{place} ^ {value:#04x}" in said for place, value in changed.items())


def test_an_error_can_come_late(machine: virtmesh_client.Machine) -> None:
    """A delay is for other faults, too."""
    machine.faults("vda").add(f"io-error type=read delay={DELAY_S}s limit=1")
    begun = time.monotonic()
    with pytest.raises(BlockIOError):
        machine.disk("vda").read(0, BLOCK)
    assert time.monotonic() - begun >= DELAY_S
    machine.disk("vda").read(0, BLOCK)
