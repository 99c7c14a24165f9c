"""Habits of kernels that were grown on QEMU: each fails by the rules, and runs with its quirk."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import SECONDS, eventually
from tests.support.riscv.habits import build
from tests.support.riscv.small_kernels import COMPILER, has_compiler

if TYPE_CHECKING:
    from tests.support.cli import Cli

NOT_QEMUS, FEATURES_REFUSED, NOT_LIVE, NO_CAPACITY, STORM = 2, 3, 4, 5, 7
WRONG_VERSION = 1
"""Codes of the kernel's end (habits.c)."""


@pytest.fixture(autouse=True)
def _compiler() -> None:
    """Leave the tests out where kernels can't be built."""
    if not has_compiler():
        pytest.skip(f"{COMPILER} is not installed")


@dataclass(frozen=True)
class Ended:
    """How a kernel has ended. `rules` are those it broke with the disk, `serial` with the port."""

    code: int | None
    """Its code; None: it powered off."""
    rules: frozenset[str]
    serial: frozenset[str]


def end_of(cli: Cli, macros: str, *options: str) -> Ended:
    """Run the kernel with habits to its end."""
    kernel = build(cli.folder, *macros.split())
    result = cli("boot", "--detach", kernel, "--disk=vda.img,size=1M", *options)
    assert result.returncode == 0, result.stderr
    with virtmesh_client.connect(cli.state.address) as machine:
        eventually(lambda: machine.cpu().status().state == "off")
        status = machine.cpu().status()
        code = status.code if status.reason == "fail" else None
        rules = (
            frozenset(one.rule for one in machine.report(name).violations)
            for name in ("vda", "serial")
        )
        return Ended(code, *rules)


def test_without_habits_the_kernel_keeps_to_the_rules(cli: Cli) -> None:
    """It is the habit that is told, and nothing of the kernel around it."""
    assert end_of(cli, "") == Ended(None, frozenset(), frozenset())


@pytest.mark.parametrize(
    ("habit", "code", "rules"),
    [
        ("WANTS_QEMU", NOT_QEMUS, set()),
        ("NO_VERSION_1", FEATURES_REFUSED, {"version-1"}),
        ("NO_FEATURES_OK", NOT_LIVE, {"queue-before-features-ok", "status-order"}),
        ("NO_ACKNOWLEDGE", FEATURES_REFUSED, {"status-order", "features-late"}),
        ("SINGLE_BITS", FEATURES_REFUSED, {"status-clear", "features-late"}),
        ("WIDE_CAPACITY", NO_CAPACITY, {"config-width"}),
        ("LEGACY", WRONG_VERSION, set()),
    ],
)
def test_by_the_rules_a_habit_fails(cli: Cli, habit: str, code: int, rules: set[str]) -> None:
    """The kernel sees a device that it does not want, and the report names what it did."""
    assert end_of(cli, habit) == Ended(code, frozenset(rules), frozenset())


@pytest.mark.parametrize(
    ("habit", "quirk", "rules"),
    [
        ("WANTS_QEMU", "lenient", {"vendor-id"}),
        ("NO_VERSION_1", "lenient", {"version-1"}),
        ("NO_FEATURES_OK", "lenient", {"status-order"}),
        ("NO_ACKNOWLEDGE", "lenient", {"status-clear", "status-order"}),
        ("SINGLE_BITS", "lenient", {"status-clear"}),
        ("WIDE_CAPACITY", "lenient", {"config-width"}),
        ("LEGACY", "legacy", {"legacy-register", "status-order", "version-1"}),
        (
            "LEGACY EARLY_DRIVER_OK",
            "legacy",
            {"legacy-register", "status-order", "version-1"},
        ),
        (
            "LEGACY WANTS_QEMU WIDE_CAPACITY SINGLE_BITS NO_ACKNOWLEDGE",
            "legacy",
            {
                *("config-width", "legacy-register", "status-clear"),
                *("status-order", "vendor-id", "version-1"),
            },
        ),
        (
            "WANTS_QEMU WIDE_CAPACITY SINGLE_BITS NO_ACKNOWLEDGE NO_VERSION_1",
            "lenient",
            {"config-width", "status-clear", "status-order", "vendor-id", "version-1"},
        ),
    ],
)
def test_with_its_quirk_a_habit_runs_and_is_reported(
    cli: Cli, habit: str, quirk: str, rules: set[str]
) -> None:
    """It writes and reads the disk; each use of the quirk is a violation all the same."""
    ended = end_of(cli, habit, f"--quirk=vda={quirk}")

    assert ended == Ended(None, frozenset(rules), frozenset())


@pytest.mark.parametrize(
    ("options", "text", "rules"),
    [
        ((), "", {"uart-format", "uart-divisor"}),
        (
            ("--serial-8n1",),
            "boot\nsectors 2048\ndisk done\n",
            {"uart-format", "uart-divisor"},
        ),
    ],
)
def test_a_kernel_that_never_programs_lcr_is_readable_on_a_port_set_to_8n1(
    cli: Cli, options: tuple[str, ...], text: str, rules: set[str]
) -> None:
    """By the data sheet a port has five data bits after a reset: capitals and letters are lost."""
    ended = end_of(cli, "NO_LCR", *options)
    cli("down")
    said = cli("boot", cli.folder / "habits.elf", "--disk=vda.img", *options).stdout

    assert ended == Ended(None, frozenset(), frozenset(rules))
    assert ("disk done" in said) is bool(options)
    assert said.replace("\r", "").startswith(text)


@pytest.mark.parametrize("habit", ["NEVER_ACKS", "NEVER_READS_IIR"])
def test_a_kernel_that_never_lowers_a_line_has_a_storm_by_the_specification(
    cli: Cli, habit: str
) -> None:
    """Its interrupt is pending again as soon as it is completed."""
    assert end_of(cli, habit).code == STORM


def test_a_kernel_that_never_reads_iir_needs_the_edges_of_qemu(cli: Cli) -> None:
    """The interrupt controller of QEMU makes a source pending when its device asks once more."""
    kernel = build(cli.folder, "NEVER_READS_IIR")
    with cli.spawn(
        "boot", kernel, "--disk=vda.img,size=1M", "--plic=qemu", stdin=subprocess.PIPE
    ) as it:
        said, _ = it.communicate(b"q", timeout=SECONDS)

    assert b"ends with 0" in said
    assert it.returncode == 0
