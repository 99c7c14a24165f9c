"""`virtmesh top`: what each device of a machine is doing, again and again."""

# ruff: noqa: FBT001 - click hands each option over as a parameter

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from virtmesh_client.cli.closed_output import ending_when_closed
from virtmesh_client.cli.settings import Settings, common
from virtmesh_client.cli.show import show_json
from virtmesh_client.cli.top.page import draw_page, draw_trends
from virtmesh_client.cli.top.show import draw, draw_title, spell_sample
from virtmesh_client.cli.top.view import View
from virtmesh_client.cli.trace.commands import Duration
from virtmesh_client.top import Sampler, rows_between
from virtmesh_client.top.history import History
from virtmesh_client.top.rates import SORTS, sort_rows
from virtmesh_common.errors import ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from virtmesh_client.top import Row, Sample

ANSWER_SECONDS = 2.0
"""How long a machine may take to answer before it counts as gone."""
INTERVAL_MIN = 0.1
WIDEST = 1000
"""Widest table, where it is no picture on a terminal."""
KEYS = "q quits, s sorts anew, arrows and digits: pages of devices"
PAGE_KEYS = "q quits, 0 shows all devices, arrows and digits go to others"


@click.command()
@click.option(
    "--interval", type=Duration(), default="1s", show_default=True, help="Time between samples."
)
@click.option("--once", is_flag=True, help="Print one plain table, over one interval, and end.")
@click.option(
    "--sort", "order", type=click.Choice(list(SORTS)), default="address", show_default=True
)
@common
@click.pass_obj
def top(settings: Settings, interval: float, once: bool, order: str) -> None:
    """Show what each device is doing: rates, latencies, interrupts.

    With --json one object for each interval, on a line of its own. Keys: q quits, s sorts, left and
    right go through the pages of devices, digits to one of them, 0 back to all.
    """
    if interval < INTERVAL_MIN:
        raise click.BadParameter("0.1s is the shortest", param_hint="--interval")
    if not (once or settings.json or sys.stdout.isatty()):
        raise click.UsageError("standard output is no terminal: use --once or --json")
    # A machine that is away is shown so, not waited for.
    with settings.connect(timeout=ANSWER_SECONDS, retry_for=0) as machine:
        watch = Watch(Sampler(machine), interval, order)
        if once:
            show_once(settings, watch, machine.address)
        elif settings.json:
            with ending_when_closed():
                for sample, rows in watch.samples():
                    sys.stdout.write(json.dumps(spell_sample(sample, rows)) + "\n")
                    sys.stdout.flush()
        else:
            show_live(watch, machine.address)


class Watch:
    """Samples at their times, with the rates between each two."""

    def __init__(self, sampler: Sampler, interval: float, order: str) -> None:
        self._sampler = sampler
        self._interval = interval
        self.view = View(order)
        self.history = History()
        self.keyboard: int | None = None
        """Descriptor to listen to between samples."""

    def samples(self) -> Iterator[tuple[Sample, list[Row]]]:
        """Return each sample with its rows; those of a machine that is gone are the last ones."""
        before = self._sampler.take()
        rows: list[Row] = rows_between(before, before)
        shown = before
        while not self.view.ended:
            due = time.monotonic() + self._interval
            while not self.view.ended and (left := due - time.monotonic()) > 0:
                if self._pause(left, rows):
                    yield shown, sort_rows(rows, self.view.order)
            if self.view.ended:
                return
            shown = after = self._sampler.take()
            if not after.gone:
                rows = rows_between(before, after)
                self.history.add(rows)
                before = after
            yield after, sort_rows(rows, self.view.order)

    def _pause(self, seconds: float, rows: Sequence[Row]) -> bool:
        """Wait, or take keys; True when what is shown changes."""
        if self.keyboard is None:
            time.sleep(seconds)
            return False
        ready, _, _ = select.select([self.keyboard], [], [], seconds)
        if not ready:
            return False
        keys = os.read(self.keyboard, 64)
        if not keys:
            self.keyboard = None  # the terminal is gone
        return self.view.press(keys, rows)


def show_once(settings: Settings, watch: Watch, address: str) -> None:
    """Print one interval. Errors: ServiceUnavailable."""
    sample, rows = next(watch.samples())
    if settings.json:
        show_json(spell_sample(sample, rows))
    if sample.gone:
        raise ServiceUnavailable(sample.gone, address=address)
    if not settings.json:
        console = Console(file=sys.stdout, width=WIDEST, highlight=False, color_system=None)
        with console.capture() as capture:
            console.print(draw(sample, rows, address))
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def show_live(watch: Watch, address: str) -> None:
    """Draw on the terminal until q or Ctrl-C."""
    console = Console(highlight=False)
    with (
        contextlib.suppress(KeyboardInterrupt),
        listening(watch),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        for sample, rows in watch.samples():
            live.update(draw_live(watch, sample, rows, address, console), refresh=True)


def draw_live(
    watch: Watch, sample: Sample, rows: Sequence[Row], address: str, console: Console
) -> RenderableType:
    """Draw the page that is chosen."""
    blocks = console.encoding.startswith("utf")
    view, history, stale = watch.view, watch.history, bool(sample.gone)
    chosen = view.page(rows)
    if chosen is not None:
        page = draw_page(chosen, history, width=console.width, blocks=blocks, stale=stale)
        return Group(draw_title(sample, address), page, Text(PAGE_KEYS, style="dim"))
    trends = draw_trends(rows, history, width=console.width, blocks=blocks)
    note = Text(f"sorted by {view.order}; {KEYS}", style="dim")
    return Group(draw(sample, rows, address), trends, note)


@contextlib.contextmanager
def listening(watch: Watch) -> Iterator[None]:
    """Have single keys read from the terminal, and give it back as it was."""
    if not sys.stdin.isatty():
        yield
        return
    try:
        import termios  # noqa: PLC0415 - Unix has it
        import tty  # noqa: PLC0415
    except ImportError:
        yield  # Ctrl-C ends it still
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    watch.keyboard = descriptor
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
