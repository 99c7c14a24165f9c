"""`virtmesh screen record`: what a screen shows, as a film."""

# ruff: noqa: FBT001, PLR0913, PLR0917 - click passes each option as a parameter

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from virtmesh_client.cli.screen.choice import open_screen
from virtmesh_client.cli.screen.common import scanout_option
from virtmesh_client.cli.seconds import Seconds
from virtmesh_client.cli.settings import Settings, common, device_argument
from virtmesh_client.cli.show import show_json
from virtmesh_client.sizes import spell_size
from virtmesh_common.printable import say


@click.command()
@device_argument
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--seconds", type=Seconds(min_open=True), help="Stop after so many seconds.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 1000, min_open=True),
    default=25.0,
    show_default=True,
    help="Most frames a second.",
)
@click.option("--cursor/--no-cursor", default=True, help="Draw the cursor into it, as by default.")
@click.option("-f", "--force", is_flag=True, help="Replace FILE if it exists.")
@scanout_option
@common
@click.pass_obj
def record(
    settings: Settings,
    device: str,
    file: Path,
    seconds: float | None,
    rate: float,
    cursor: bool,
    force: bool,
    scanout: int,
) -> None:
    """Record what a screen shows to FILE, until Ctrl-C.

    A FILE that ends in .webm is a film for browsers and players; one in .apng or .png has all
    pixels as they were.
    """
    with open_screen(settings, device) as screens:
        try:
            recording = screens.record(
                file, frames_per_second=rate, cursor=cursor, overwrite=force, scanout=scanout
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        with recording:
            with contextlib.suppress(KeyboardInterrupt):
                if not settings.quiet and not settings.json:
                    say(f"Recording {device}; press Ctrl-C to stop", err=True)
                recording.wait(seconds)
            done = recording.stop()
    if settings.json:
        show_json(
            {
                "device": device,
                "file": str(file),
                "frames": done.frames,
                "seconds": done.seconds,
                "bytes": done.size_bytes,
            }
        )
    elif not settings.quiet:
        size = spell_size(done.size_bytes)
        say(f"{file}: {done.frames} frames, {done.seconds:.3f} s ({size})")
