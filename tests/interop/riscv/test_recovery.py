"""Devices that are killed under a running kernel, and what it notices: a delay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import pytest

from tests.support.cli import eventually
from tests.support.riscv.boot import Rig, at_shell
from tests.support.riscv.events import EV_KEY, Event, frozen, reading
from tests.support.riscv.injecting import event_name, send, send_until_killed
from tests.support.riscv.load import (
    FILES,
    begin_load,
    check_load,
    finish_load,
    requests_done,
)
from tests.support.riscv.parts import Parts
from tests.support.riscv.writing import fsck
from virtmesh_common.evdev import CODES, TYPES

KILLS = 4
"""As many as may be restarted in a minute, less one."""
WRITES = 5
"""Writes that a disk executes before it is killed."""
DELIVERED = 20
"""Packets that an input device delivers before it is killed."""
LINES = 3000
EV_REL, EV_ABS = (TYPES[name] for name in ("EV_REL", "EV_ABS"))
KEY_A, KEY_B = (CODES["EV_KEY"][name] for name in ("KEY_A", "KEY_B"))


@pytest.fixture(scope="module")
def victim(riscv: Parts) -> Iterator[Rig]:
    """Boot a guest whose devices die."""
    with at_shell(riscv) as rig:
        yield rig


def test_a_disk_that_is_killed_under_load_loses_nothing(victim: Rig) -> None:
    """With reads and writes in flight, again and again: every file has its content, ext4 is clean.

    The kernel reports no error of the disk.
    """
    begin_load(victim.guest)
    for _ in range(KILLS):
        eventually(lambda: requests_done(victim, "OUT") > WRITES)
        victim.kill("vda")
    said = finish_load(victim.guest)
    right = check_load(victim.guest)
    victim.guest.run("umount /mnt")
    errors = victim.guest.run("dmesg | grep -E 'I/O error|EXT4-fs error|blk_update' || true")
    status, found = fsck(victim.disk)

    assert said == f"{FILES} files\n"
    assert right == FILES
    assert errors == ""
    assert status == 0, found


def moves() -> Iterator[Sequence[Event]]:
    """Return moves of a mouse, each by another distance."""
    return ([(EV_REL, 0, value)] for value in count(1))


def points() -> Iterator[Sequence[Event]]:
    """Return points of a tablet, each another."""
    return ([(EV_ABS, 0, value)] for value in count(1))


def strokes() -> Iterator[Sequence[Event]]:
    """Return a key that goes down and up."""
    return ([(EV_KEY, KEY_A, value % 2)] for value in count(1))


AFTERWARDS: dict[str, list[list[Event]]] = {
    "keyboard": [[(EV_KEY, KEY_B, 1)], [(EV_KEY, KEY_B, 0)]],
    "mouse": [[(EV_REL, 1, -3)], [(EV_REL, 1, -4)]],
    "tablet": [[(EV_ABS, 1, 77)], [(EV_ABS, 1, 78)]],
}
BEFORE = {"keyboard": strokes, "mouse": moves, "tablet": points}


@pytest.mark.parametrize("device", BEFORE)
def test_an_input_device_that_is_killed_under_load_goes_on(victim: Rig, device: str) -> None:
    """What was delivered has arrived in order; what is sent to the new process arrives."""
    sent = BEFORE[device]()
    with reading(victim.guest, f"/dev/input/{event_name(victim, device)}") as reader:
        delivered = 0
        for delivered in send_until_killed(victim.address(device), BEFORE[device]()):
            if delivered == DELIVERED:
                victim.kill(device)
        send(victim, device, AFTERWARDS[device])
        found = reader.packets(delivered + len(AFTERWARDS[device]))

    earlier, later = found[: -len(AFTERWARDS[device])], found[-len(AFTERWARDS[device]) :]
    assert earlier == [tuple(next(sent)) for _ in earlier]
    assert len(earlier) >= delivered
    assert later == frozen(AFTERWARDS[device])


def test_a_serial_port_that_is_killed_under_load_goes_on(victim: Rig) -> None:
    """Output goes on at the same terminal, and so does input, up to the power-off."""
    guest = victim.guest
    guest.begin(f"i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); done")
    guest.expect("line 100\r\n")
    victim.kill("serial")
    guest.expect(f"line {LINES - 1}\r\n")
    guest.finish()

    assert guest.run("echo alive") == "alive\n"
    assert guest.end() == 0
