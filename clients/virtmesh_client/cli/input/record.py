"""`virtmesh input record|play|convert`: recordings, in our format and in evemu's."""

# ruff: noqa: FBT001, PLR0913, PLR0917 - click passes each option as a parameter

from __future__ import annotations

import contextlib
import signal
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtmesh_client.atomic_file import check_target
from virtmesh_client.cli.input.common import (
    InjectOptions,
    choose,
    device_option,
    inject_options,
    injector,
    is_any,
    report,
)
from virtmesh_client.cli.input.show import seconds_option
from virtmesh_client.cli.settings import Settings, common
from virtmesh_client.cli.show import show_json
from virtmesh_client.input.files import (
    EVEMU_SUFFIX,
    load_recording,
    parse_recording,
    save_recording,
    spell_recording,
)
from virtmesh_client.input.recording import record as make_recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtmesh_client.input import InputInfo, Received, Recording

STANDARD = "-"
force_option = click.option("-f", "--force", is_flag=True, help="Replace FILE if it exists.")
evemu_option = click.option(
    "--evemu", is_flag=True, help="Write evemu's format to standard output."
)


@click.command()
@click.argument("file", type=click.Path(allow_dash=True))
@device_option
@seconds_option
@click.option("--events", type=click.IntRange(1), help="Stop after so many events.")
@force_option
@evemu_option
@common
@click.pass_obj
def record(
    settings: Settings,
    file: str,
    device: str | None,
    seconds: float | None,
    events: int | None,
    force: bool,
    evemu: bool,
) -> None:
    """Record the events that the driver receives to FILE, until Ctrl-C.

    If FILE is -, write to standard output. If FILE ends in .evemu, write evemu's format. The events
    of all injectors are recorded.
    """
    if file != STANDARD:
        check_target(Path(file), overwrite=force)
    received: list[Received] = []
    with settings.connect() as machine:
        name = choose(machine, device, is_any)
        chosen = machine.input(name)
        about = chosen.info()
        with chosen.watch(seconds=seconds) as stream:
            if not settings.quiet and not settings.json:
                click.echo(f"Recording {name}; press Ctrl-C to stop", err=True)
            with ending(stream.close):
                received.extend(islice(stream, events))
    recording = make_recording(received, about)
    save(settings, recording, file, overwrite=force, evemu=evemu)


@contextlib.contextmanager
def ending(end: Callable[[], None]) -> Iterator[None]:
    """Call `end` on Ctrl-C and SIGTERM while the body runs, so that received events are kept."""

    def stop(_number: int, _frame: object) -> None:
        end()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def save(
    settings: Settings, recording: Recording, file: str, *, overwrite: bool, evemu: bool
) -> None:
    """Write a recording, and print a summary."""
    if file == STANDARD:
        sys.stdout.write(spell_recording(recording, evemu=evemu))
        return
    save_recording(recording, file, overwrite=overwrite)
    facts = {
        "file": file,
        "format": "evemu" if file.endswith(EVEMU_SUFFIX) else "virtmesh",
        "events": len(recording.events),
        "packets": sum(1 for _ in recording.packets()),
        "seconds": round(recording.duration, 6),
    }
    if settings.json:
        show_json(facts)
    elif not settings.quiet:
        click.echo(
            f"{file}: {facts['events']} events in {facts['packets']} packets,"
            f" {recording.duration:.3f} s"
        )


def load(file: str) -> Recording:
    """Read a recording from a file, or from standard input if `file` is "-".

    Errors: BadRecording; OSError.
    """
    if file == STANDARD:
        return parse_recording(sys.stdin.buffer.read(), "standard input")
    return load_recording(file)


@click.command()
@click.argument("file", type=click.Path(allow_dash=True))
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="2 is twice as fast, 0 is as fast as possible.",
)
@click.option(
    "--skip-missing", is_flag=True, help="Leave out events that the device does not have."
)
@inject_options
@common
@click.pass_obj
def play(
    settings: Settings, file: str, speed: float, skip_missing: bool, how: InjectOptions
) -> None:
    """Replay FILE, a recording of `record` or an evemu file. If FILE is -, read standard input.

    The whole file is read and checked before the first event is injected.
    """
    recording = load(file)

    def fits(info: InputInfo) -> bool:
        found = [info.has_event(one.event) for one in recording.events if not one.event.is_report]
        return any(found) if skip_missing else all(found)

    usual = recording.device.personality if recording.device else ""
    with injector(settings, how, fits, usual) as device:
        played = device.play(recording, speed=speed, skip_missing=skip_missing, wait=how.wait)
    report(
        settings,
        device.name,
        played.injected,
        seconds=round(played.seconds, 6),
        skipped=played.skipped,
        drift_max_us=played.drift_max_us,
    )


@click.command()
@click.argument("source", type=click.Path(allow_dash=True))
@click.argument("file", type=click.Path(allow_dash=True))
@force_option
@evemu_option
@common
@click.pass_obj
def convert(settings: Settings, source: str, file: str, force: bool, evemu: bool) -> None:
    """Convert the recording SOURCE to FILE, from or to evemu's format.

    - is standard input or output.
    """
    save(settings, load(source), file, overwrite=force, evemu=evemu)
