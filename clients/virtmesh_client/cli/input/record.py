"""`virtmesh input record|play|convert`: recordings, in our format, evemu's and libinput's."""

# ruff: noqa: FBT001, PLR0913, PLR0917 - click passes each option as a parameter

from __future__ import annotations

import contextlib
import math
import signal
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    Format,
    format_of,
    load_recording,
    parse_recording,
    save_recording,
    spell_recording,
)
from virtmesh_client.input.models import SYSTEM_TYPES
from virtmesh_client.input.recording import record as make_recording
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtmesh_client.input import InputInfo, Received, Recording
    from virtmesh_client.input.replay import OutOfRange

STANDARD = "-"
force_option = click.option("-f", "--force", is_flag=True, help="Replace FILE if it exists.")
evemu_option = click.option(
    "--evemu", is_flag=True, help="Write evemu's format to standard output."
)
node_option = click.option(
    "--node",
    default="",
    metavar="PATH",
    help="The device to take from a file of several, such as /dev/input/event4.",
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
                say(f"Recording {name}; press Ctrl-C to stop", err=True)
            with ending(stream.close):
                received.extend(islice(stream, events))
    recording = make_recording(received, about)
    save(settings, recording, file, overwrite=force, form="evemu" if evemu else "virtmesh")


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
    settings: Settings, recording: Recording, file: str, *, overwrite: bool, form: Format
) -> None:
    """Write a recording, and print a summary. `form` is that of standard output."""
    warn_of_lost_events(recording)
    if file == STANDARD:
        sys.stdout.write(spell_recording(recording, form))
        return
    save_recording(recording, file, overwrite=overwrite)
    facts = {
        "file": file,
        "format": format_of(Path(file)),
        "events": len(recording.events),
        "packets": sum(1 for _ in recording.packets()),
        "seconds": round(recording.duration, 6),
    }
    if settings.json:
        show_json(facts)
    elif not settings.quiet:
        say(
            f"{file}: {facts['events']} events in {facts['packets']} packets,"
            f" {recording.duration:.3f} s"
        )


def load(file: str, node: str) -> Recording:
    """Read a recording from a file, or from standard input if `file` is "-".

    Errors: BadRecording; OSError.
    """
    if file == STANDARD:
        return parse_recording(sys.stdin.buffer.read(), "standard input", node=node)
    return load_recording(file, node=node)


def warn_of_lost_events(recording: Recording) -> None:
    """Say on standard error that a recording is not whole."""
    if recording.dropped:
        say(
            f"The recorder lost events {recording.dropped} times (SYN_DROPPED): the packets around"
            " these places are left out",
            err=True,
        )


class Speed(click.FloatRange):
    """A factor. "nan" is in every range, and is none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        factor: float = super().convert(value, param, ctx)
        if math.isnan(factor):
            self.fail(f"{value} is not a factor: choose a number such as 2", param, ctx)
        return factor


@click.command()
@click.argument("file", type=click.Path(allow_dash=True))
@node_option
@click.option(
    "--speed",
    type=Speed(min=0),
    default=1.0,
    show_default=True,
    help="2 is twice as fast, 0 is as fast as possible.",
)
@click.option(
    "--skip-missing", is_flag=True, help="Leave out events that the device does not have."
)
@click.option(
    "--out-of-range",
    type=click.Choice(["send", "clamp", "refuse"]),
    default="send",
    show_default=True,
    help="What becomes of a value beyond the range of its axis, as real devices send them.",
)
@inject_options
@common
@click.pass_obj
def play(
    settings: Settings,
    file: str,
    node: str,
    speed: float,
    skip_missing: bool,
    out_of_range: OutOfRange,
    how: InjectOptions,
) -> None:
    """Replay FILE, a recording of `record`, evemu or libinput. If FILE is -, read standard input.

    The whole file is read and checked before the first event is injected. What the system had sent
    to the recorded device, such as lights, is left out.
    """
    recording = load(file, node)
    warn_of_lost_events(recording)

    def fits(info: InputInfo) -> bool:
        found = [
            info.has_event(one.event)
            for one in recording.events
            if not one.event.is_report and one.event.type not in SYSTEM_TYPES
        ]
        return any(found) if skip_missing else all(found)

    usual = recording.device.personality if recording.device else ""
    with injector(settings, how, fits, usual) as device:
        played = device.play(
            recording,
            speed=speed,
            skip_missing=skip_missing,
            out_of_range=out_of_range,
            wait=how.wait,
        )
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
@node_option
@force_option
@evemu_option
@click.option(
    "--personality",
    is_flag=True,
    help="Write the recorded device's personality to standard output.",
)
@common
@click.pass_obj
def convert(
    settings: Settings,
    source: str,
    file: str,
    node: str,
    force: bool,
    evemu: bool,
    personality: bool,
) -> None:
    """Convert the recording SOURCE (of `record`, evemu or libinput) to FILE.

    If FILE ends in .evemu, write evemu's format. If it ends in .toml, write the personality of the
    recorded device: a device that has it takes the recording whole. - is standard input or output.
    """
    form: Format = "personality" if personality else "evemu" if evemu else "virtmesh"
    save(settings, load(source, node), file, overwrite=force, form=form)
