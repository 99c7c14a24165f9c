"""Faults on demand of the devices of a board, and what a real kernel's drivers make of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import eventually
from tests.support.riscv.events import EV_KEY, frozen, reading
from tests.support.riscv.injecting import event_name, inject
from virtmesh_client import connect
from virtmesh_common.evdev import CODES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.riscv.boot import Rig
    from virtmesh_client import Machine

A, B, C, D = (CODES["EV_KEY"][f"KEY_{name}"] for name in "ABCD")
READ = "dd if=/dev/vda of=/dev/null bs=4096 count=1 skip={} iflag=direct 2>&1 || true"
DONE = "1+0 records out"
COUNTS = re.compile(r"\b(fe|pe|brk|oe):(\d+)")
"""Of errors of a port, in /proc/tty/driver/serial: those that are not 0."""


@pytest.fixture(scope="module")
def machine(rig: Rig) -> Iterator[Machine]:
    """Connect to the board's machine."""
    with connect(rig.cli.state.address) as machine:
        yield machine


def said(rig: Rig) -> str:
    """Return what the kernel has said of its disk."""
    return rig.guest.run("dmesg | grep -E 'vda|I/O error' || true")


def test_linux_reports_a_sector_that_fails_and_reads_it_afterwards(
    rig: Rig, machine: Machine
) -> None:
    """With its number."""
    faults = machine.faults("vda")
    faults.add("io-error type=read sectors=2048-2055")
    assert "I/O error" in rig.guest.run(READ.format(256)) + said(rig)
    assert "I/O error, dev vda, sector 2048 op 0x0:(READ)" in said(rig)
    faults.clear()
    assert DONE in rig.guest.run(READ.format(256))


@pytest.mark.parametrize(
    "words",
    [
        "delay delay=exp:1ms",
        "late-interrupt delay=1ms-5ms",
        "double-interrupt delay=100us",
        "spurious-interrupt delay=2ms",
    ],
)
def test_linux_bears_it_and_says_nothing(rig: Rig, machine: Machine, words: str) -> None:
    """Its reads succeed."""
    before, faults = said(rig), machine.faults("vda")
    faults.add(words)
    read = rig.guest.run("dd if=/dev/vda of=/dev/null bs=64k count=8 iflag=direct 2>&1")
    assert "8+0 records out" in read
    eventually(lambda: faults.list()[0].hits)
    faults.clear()
    assert said(rig) == before


@pytest.mark.parametrize(
    ("words", "mends"),
    [
        ("hang type=read limit=1", None),
        ("stuck-queue queue=0", None),
        ("lost-interrupt limit=1", "spurious-interrupt delay=10ms"),
    ],
)
def test_linux_waits_until_it_is_mended(
    rig: Rig, machine: Machine, words: str, mends: str | None
) -> None:
    """By taking the fault back; a lost interrupt by the next one. There is no error."""
    before, faults = said(rig), machine.faults("vda")
    faults.add(words)
    rig.guest.begin(READ.format(300))
    eventually(lambda: faults.list()[0].hits)
    faults.clear()
    if mends:
        faults.add(mends)
    assert DONE in rig.guest.finish()
    faults.clear()
    assert said(rig) == before


def test_linux_reads_the_size_again_when_told_that_the_configuration_changed(
    rig: Rig, machine: Machine
) -> None:
    """It says the same size each time."""
    faults = machine.faults("vda")
    faults.add("config-change delay=5ms limit=3")
    eventually(lambda: faults.list()[0].hits == 3)
    faults.clear()
    rig.guest.run("until dmesg | grep -q 'vda. new size: '; do usleep 1000; done")
    assert DONE in rig.guest.run(READ.format(301))


@pytest.mark.parametrize(
    ("words", "arrives"),
    [
        ("dropped-packet after=2 limit=2", [(A, 1), (A, 0), (C, 1), (C, 0), (D, 1), (D, 0)]),
        (
            "doubled-packet after=2 limit=1",
            [(A, 1), (A, 0), (B, 1), (B, 0), (C, 1), (C, 0), (D, 1), (D, 0)],
        ),
        (
            "swapped-packet after=3 limit=1",
            [(A, 1), (A, 0), (B, 1), (C, 1), (B, 0), (C, 0), (D, 1), (D, 0)],
        ),
    ],
)
def test_packets_of_a_keyboard(
    rig: Rig, machine: Machine, words: str, arrives: list[tuple[int, int]]
) -> None:
    """A program reads what arrives, but a second press: the key is down already."""
    packets = [[(EV_KEY, code, value)] for code in (A, B, C, D) for value in (1, 0)]
    faults = machine.faults("keyboard")
    with reading(rig.guest, f"/dev/input/{event_name(rig, 'keyboard')}") as reader:
        faults.add(words)
        inject(rig, "keyboard", packets)
        wanted = frozen([[(EV_KEY, code, value)] for code, value in arrives])
        assert reader.packets(len(wanted)) == wanted
    assert faults.clear()[0].hits


def counts(rig: Rig) -> dict[str, int]:
    """Return the errors that the kernel has counted at its console, by kind."""
    line = rig.guest.run("grep '^0:' /proc/tty/driver/serial")
    return {name: int(count) for name, count in COUNTS.findall(line)}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("parity-error limit=1", "pe"),
        ("framing-error limit=1", "fe"),
        ("noise limit=1", "fe"),
        ("overrun limit=1", "oe"),
        ("break limit=1", "brk"),
    ],
)
def test_linux_counts_errors_of_the_line(rig: Rig, machine: Machine, words: str, name: str) -> None:
    """At its console. After a break it takes a character for a command of SysRq: Ctrl-U is none."""
    before = counts(rig).get(name, 0)
    faults = machine.faults("serial")
    faults.add(words)
    rig.guest.console.send("#")
    eventually(lambda: faults.list()[0].hits)
    faults.clear()
    rig.guest.console.sendcontrol("u")
    assert counts(rig)[name] == before + 1
