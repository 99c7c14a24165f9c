"""`virtmesh blk powerloss-check`: try what a power loss may leave on a disk."""

# ruff: noqa: FBT001, PLR0913, PLR0917 - click passes each option as a parameter

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from virtmesh_client.cli.errors import VIOLATIONS
from virtmesh_client.cli.seconds import Seconds
from virtmesh_client.cli.settings import Settings, common
from virtmesh_client.cli.show import show_json
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtmesh_client.powerloss import PowerLossOptions, PowerLossReport
    from virtmesh_client.powerloss.states import State

SHOWN = 5
"""Violations that are described to people; --json has more."""
LINES = 12
"""Lines of one description."""


class Tear(click.ParamType[int | str]):
    """The unit in which writes are torn."""

    name = "unit"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """Return a word or a number of bytes."""
        text = str(value)
        if text in {"sector", "block", "none"}:
            return text
        if (
            text.isascii()
            and text.isdecimal()
            and int(text) % 512 == 0
            and 0 < int(text) <= 1 << 20
        ):
            return int(text)
        return self.fail("choose sector, block, none, or a multiple of 512 up to 1M", param, ctx)


@click.command("powerloss-check")
@click.argument("log", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--image",
    "base",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A copy of the disk from before the recording.",
)
@click.option("--seed", type=click.IntRange(0, (1 << 64) - 1), help="Repeat what was by chance.")
@click.option(
    "--exhaustive",
    type=click.IntRange(0, 1 << 20),
    default=256,
    show_default=True,
    help="Try a crash point with at most so many states whole.",
)
@click.option(
    "--samples",
    type=click.IntRange(2, 1 << 20),
    default=32,
    show_default=True,
    help="States by chance of a crash point with more.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1 << 24),
    default=2000,
    show_default=True,
    help="Most states of all crash points.",
)
@click.option(
    "--tear",
    type=Tear(),
    default="sector",
    show_default=True,
    help="Unit in which writes are torn: sector, block (of the disk), none, or bytes.",
)
@click.option("--mark-sector", type=click.IntRange(0), help="Writes to this sector are marks.")
@click.option("--entries", type=click.IntRange(0), help="Take the first entries of the log only.")
@click.option(
    "--jobs", type=click.IntRange(1, 1024), help="Checkers at a time  [default: processors]"
)
@click.option(
    "--deadline",
    type=Seconds(min_open=True),
    default=60.0,
    show_default=True,
    help="End a checker after so many seconds, and refuse its state.",
)
@click.option("--first", is_flag=True, help="End after a violation.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where images are made  [default: that of temporary files]",
)
@click.option(
    "--state", "number", type=click.IntRange(0), help="Make the image of this state only."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --state: the file to make.",
)
@click.argument("checker", nargs=-1, type=click.UNPROCESSED)
@common
@click.pass_obj
def powerloss_check(
    settings: Settings,
    /,
    log: Path,
    base: Path,
    number: int | None,
    output: Path | None,
    checker: tuple[str, ...],
    jobs: int | None,
    deadline: float,
    first: bool,
    folder: Path | None,
    **chosen: Any,
) -> None:
    """Try what a power loss may leave on a disk, and have a checker judge each state.

    \b
    LOG is what a disk records with write-log=FILE, or dm-log-writes, or blklogwrites.
    CHECKER, after --, is a command: {} in it stands for the image of a state. The
    environment has VIRTMESH_IMAGE, VIRTMESH_MARK (the last mark) and VIRTMESH_STATE.
    It exits with 0 if all is well, and may change its image.

    The exit status is 0 without a violation, and 4 with some.
    """  # noqa: D301 - click wants the character
    from virtmesh_client.powerloss import (  # noqa: PLC0415 - other commands don't need it
        PowerLossOptions,
        build_state,
        check_power_loss,
    )

    options = PowerLossOptions(**chosen)
    if number is not None:
        if output is None or options.seed is None or checker:
            raise click.UsageError("--state goes with --seed and --output FILE, without a checker")
        state = build_state(log, base, number, output, options)
        _show_state(settings, state, output)
        return
    if output is not None:
        raise click.UsageError("--output goes with --state")
    if not checker:
        raise click.UsageError("give a checker after --, such as: -- sh check.sh {}")
    with states_bar(settings) as progress:
        report = check_power_loss(
            log,
            base,
            checker,
            options,
            jobs=jobs,
            deadline=deadline,
            folder=folder,
            first_only=first,
            progress=progress,
        )
    if settings.json:
        show_json(report)
    else:
        _show_report(settings, report, options)
    if report.violation_count:
        raise click.exceptions.Exit(VIOLATIONS)


@contextlib.contextmanager
def states_bar(settings: Settings) -> Iterator[Callable[[int, int, int], None]]:
    """Show on a terminal how many states are tried while the body runs."""
    if not settings.progress:
        yield lambda _tried, _total, _violations: None
        return
    from rich.console import Console  # noqa: PLC0415 - it takes time, and few need it
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("states", total=None)
        yield lambda tried, total, violations: bar.update(
            task, completed=tried, total=total, description=f"states, {violations} violations"
        )


def _show_state(settings: Settings, state: State, output: Path) -> None:
    """Say what the image of a state has."""
    writes = state.describe()
    if settings.json:
        show_json({"state": state.number, "mark": state.window.mark, "writes": writes})
    elif not settings.quiet:
        say(f"{output}: state {state.number}, crash point {state.window.number}")
        for line in writes:
            say(f"  {line}")


def _show_report(settings: Settings, report: PowerLossReport, options: PowerLossOptions) -> None:
    """Print what was found."""
    if not settings.quiet:
        say(
            f"{report.log}: {report.writes} writes, {report.flushes} flushes, {report.marks} marks;"
            f" {report.windows} crash points, {report.exhaustive_windows} of them tried whole"
        )
        if report.runs > 1:
            say(
                f"recorded in {report.runs} runs of the disk's service: a write that was under way"
                " when one was killed may be missing"
            )
        if report.base_status != 0:
            say("the checker refuses the base too: is it the right command for this disk?")
    for violation in report.violations[:SHOWN]:
        ended = violation.exit_status
        how = "did not end in time" if ended is None else f"exit status {ended}"
        mark = f", after mark {violation.mark}" if violation.mark else ""
        say(f"state {violation.state} (crash point {violation.window}{mark}): {how}")
        for line in violation.writes[:LINES]:
            say(f"  {line}")
        if len(violation.writes) > LINES:
            say(f"  and {len(violation.writes) - LINES} writes more")
        for line in violation.output.splitlines()[-LINES:]:
            say(f"  | {line}")
        say(f"  made again by: {_spell_command(report, options, violation.state)}")
    say(
        f"{report.states} states tried, {report.distinct_states} distinct,"
        f" {report.violation_count} violations, seed {report.seed}, {report.seconds:.1f} s"
    )


def _spell_command(report: PowerLossReport, options: PowerLossOptions, state: int) -> str:
    """Return the command that makes a state again."""
    given: dict[str, object] = {
        "--seed": report.seed,
        "--exhaustive": options.exhaustive,
        "--samples": options.samples,
        "--limit": options.limit,
        "--tear": options.tear,
        "--mark-sector": options.mark_sector,
        "--entries": options.entries,
    }
    defaults: dict[str, object] = {
        "--exhaustive": 256,
        "--samples": 32,
        "--limit": 2000,
        "--tear": "sector",
    }
    words = ["virtmesh", "blk", "powerloss-check", report.log, "--image", report.image]
    for name, value in given.items():
        if value is not None and defaults.get(name) != value:
            words += [name, str(value)]
    return shlex.join([*words, "--state", str(state), "--output", f"state-{state}.img"])
