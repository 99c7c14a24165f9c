"""`virtmesh trace`: the dialogue of drivers and devices, as it was or as it goes on."""

# ruff: noqa: FBT001 - click hands each option over as a parameter

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from virtmesh_client.atomic_file import new_file
from virtmesh_client.cli.added import AddedCommands
from virtmesh_client.cli.closed_output import ending_when_closed
from virtmesh_client.cli.input.common import plural
from virtmesh_client.cli.input.record import ending
from virtmesh_client.cli.settings import Settings, common, complete_device
from virtmesh_client.cli.show import show_json
from virtmesh_client.cli.trace.show import Printer
from virtmesh_client.trace.choose import last, parse_kinds, since
from virtmesh_client.trace.decode import Decoder
from virtmesh_client.trace.reader import follow_traces, read_traces
from virtmesh_client.trace.store import TraceWriter, load_trace
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from virtmesh_client.trace.choose import Line
    from virtmesh_client.trace.decode import Spelled
    from virtmesh_client.trace.events import Event

    Sink = Callable[[Event, Spelled], object]

UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
CHUNK_BYTES = 1 << 16
"""How much is written to a file at a time."""


class Duration(click.ParamType[float]):
    """A time: 5s, 200ms, 2m, 1h; a plain number is seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|)", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no time: write 5s, 200ms, 2m or 1h", param, ctx)
        return float(match[1]) * UNITS[match[2]]


class Kinds(click.ParamType[frozenset[str]]):
    """Kinds of events, by group or one by one."""

    name = "kinds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> frozenset[str]:
        """Return the kinds."""
        try:
            return parse_kinds(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True)
class Wanted:
    """What is asked for."""

    devices: tuple[str, ...]
    follow: bool
    last: int | None
    since: float | None
    kinds: frozenset[str] | None
    source: Path | None


@click.group(cls=AddedCommands, prefix="trace.", invoke_without_command=True)
@click.option(
    "-d",
    "--device",
    "devices",
    multiple=True,
    shell_complete=complete_device,
    help="Only this device; may be repeated  [default: all]",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with new events, until Ctrl-C.")
@click.option("-n", "--last", type=click.IntRange(0), help="Only the last events, so many.")
@click.option("--since", type=Duration(), help="Only events of the last 5s, 200ms, 2m, 1h.")
@click.option(
    "--kinds",
    type=Kinds(),
    help="Only events of these kinds: register, queue, request, notify, interrupt, state, or single"
    " ones such as pop_used; with commas.",
)
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Show a saved trace; no machine is needed.",
)
@click.option(
    "--save", type=click.Path(path_type=Path), metavar="FILE", help="Save the events instead."
)
@click.option(
    "--perfetto",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write them for https://ui.perfetto.dev instead.",
)
@click.option("--force", is_flag=True, help="Replace a file.")
@common
@click.pass_context
def trace(
    context: click.Context,
    /,
    save: Path | None,
    perfetto: Path | None,
    force: bool,
    **wanted: Any,
) -> None:
    """Show what drivers and devices said to each other, in words.

    The lines are in the order of time. Flight recorders are always on: without --follow this shows
    what they have kept.
    """
    if context.invoked_subcommand is not None:
        return
    chosen = Wanted(**wanted)
    check(chosen)
    check_files(save, perfetto)
    settings = context.ensure_object(Settings)
    files = [one for one in (save, perfetto) if one is not None]
    with contextlib.ExitStack() as stack:
        sinks = [stack.enter_context(saving(save, force=force))] if save else []
        if perfetto:
            sinks.append(stack.enter_context(drawing(perfetto, force=force)))
        if not files:
            stack.enter_context(ending_when_closed())
            sinks.append(Printer(settings, flush=chosen.follow).show)
        count = 0
        for line in choose(chosen, events_of(stack, settings, chosen)):
            for sink in sinks:
                sink(*line)
            count += 1
    if files and settings.json:
        show_json({"files": files, "events": count})
    elif files and not settings.quiet:
        say(f"{plural(count, 'event')} in {' and '.join(map(str, files))}", err=True)


def check(wanted: Wanted) -> None:
    """Refuse what makes no sense together. Errors: UsageError."""
    if wanted.follow and wanted.source:
        raise click.UsageError("--from has an end: leave --follow away")
    if wanted.follow and wanted.last is not None:
        raise click.UsageError("--last needs an end: use --since with --follow")


def check_files(save: Path | None, perfetto: Path | None) -> None:
    """Refuse one file for both forms: the last would replace the first. Errors: UsageError."""
    if save and perfetto and save.resolve() == perfetto.resolve():
        raise click.UsageError("--save and --perfetto name the same file: give each its own")


def events_of(stack: contextlib.ExitStack, settings: Settings, wanted: Wanted) -> Iterator[Event]:
    """Return the events of a file or of the machine, by time, until the stack is closed."""
    if wanted.source:
        names = set(wanted.devices)
        events = load_trace(wanted.source)
        return (event for event in events if not names or event.source.device in names)
    machine = stack.enter_context(settings.connect())
    devices = list(dict.fromkeys(wanted.devices)) or [one.name for one in machine.devices()]
    if not wanted.follow:
        return read_traces(machine.channel, devices)
    stop = threading.Event()
    stack.enter_context(ending(stop.set))
    past = wanted.since is not None
    return follow_traces(machine.channel, devices, past=past, stop=stop)


def choose(wanted: Wanted, events: Iterable[Event]) -> Iterator[Line]:
    """Decode all events, and return those that are wanted."""
    decoder = Decoder()
    recent = always if wanted.since is None else since(wanted.since)
    kinds = wanted.kinds
    lines = (
        (event, spelled)
        for event, spelled in ((event, decoder.spell(event)) for event in events)
        if (kinds is None or event.kind in kinds) and recent(event)
    )
    return last(lines, wanted.last)


def always(_event: Event) -> bool:
    """Choose every event."""
    return True


@contextlib.contextmanager
def saving(path: Path, *, force: bool) -> Iterator[Sink]:
    """Save events to a file, which gets its name when it is complete."""
    with new_file(path, overwrite=force) as file, Chunks(file.write) as chunks:
        writer = TraceWriter(lambda text: chunks.write(text.encode()))
        yield lambda event, _: writer.add(event)


@contextlib.contextmanager
def drawing(path: Path, *, force: bool) -> Iterator[Sink]:
    """Write events for Perfetto to a file, which gets its name when it is complete."""
    # Its message classes take a quarter of a second to load.
    from virtmesh_client.trace.perfetto import PerfettoWriter  # noqa: PLC0415

    with new_file(path, overwrite=force) as file, Chunks(file.write) as chunks:
        writer = PerfettoWriter(chunks)
        yield writer.add
        writer.finish()


class Chunks:
    """Collects small writes."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._waiting = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._write(bytes(self._waiting))

    def write(self, data: bytes) -> int:
        """Take bytes. Errors: OSError."""
        self._waiting += data
        if len(self._waiting) >= CHUNK_BYTES:
            self._write(bytes(self._waiting))
            self._waiting.clear()
        return len(data)
