"""`virtmesh screen watch`, `expect` and `wait-still`: what a screen shows next."""

# ruff: noqa: PLR0913, PLR0917 - click passes each option as a parameter

from __future__ import annotations

import contextlib
import json
import threading
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from virtmesh_client.cli.closed_output import ending_when_closed
from virtmesh_client.cli.screen.choice import open_screen
from virtmesh_client.cli.screen.common import RegionType, scanout_option
from virtmesh_client.cli.seconds import Seconds
from virtmesh_client.cli.settings import Settings, common, device_argument
from virtmesh_client.cli.show import show_json
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtmesh_client.screen.models import Rectangle
    from virtmesh_client.screen.update import Update

SHOWN = 4
"""Most rectangles in one line."""

timeout_option = click.option(
    "--timeout",
    type=Seconds(),
    default=30.0,
    show_default=True,
    help="Seconds to wait; the exit status is 5 then.",
)
region_option = click.option(
    "--region",
    type=RegionType(),
    metavar="X,Y,WIDTH,HEIGHT",
    help="Look at this part of the screen only, in pixels.",
)


@click.command()
@device_argument
@scanout_option
@click.option(
    "--rate", type=click.IntRange(0, 1000), default=0, help="Most updates a second; 0: all."
)
@click.option("--updates", type=click.IntRange(1), help="Stop after so many updates.")
@click.option("--seconds", type=Seconds(min_open=True), help="Stop after so many seconds.")
@common
@click.pass_obj
def watch(
    settings: Settings,
    device: str,
    scanout: int,
    rate: int,
    updates: int | None,
    seconds: float | None,
) -> None:
    """Print a line for each update of a screen, until Ctrl-C.

    A line has the size of the picture, the rectangles that changed (WIDTHxHEIGHT+X+Y), their bytes,
    and how many flushes of the driver are in it. With --json, each line is one object.
    """
    with open_screen(settings, device) as screens:
        stream = screens.watch(scanout, updates_per_second=rate)
        with ending_when_closed(), stream, ending_after(seconds, stream.close):
            for update in islice(stream, updates):
                say(spell_json(update) if settings.json else spell_line(update))


@contextlib.contextmanager
def ending_after(seconds: float | None, end: Callable[[], None]) -> Iterator[None]:
    """Call `end` after so many seconds, if the body still runs then."""
    timer = threading.Timer(seconds or 0, end)
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def spell_line(update: Update) -> str:
    """Return the line about an update."""
    size = f"{update.width}x{update.height}" if update.width else "nothing"
    parts = [f"{update.number:>6} {size}"]
    if update.is_new:
        parts.append("new picture")
    places = [f"{one.width}x{one.height}+{one.x}+{one.y}" for one in update.changes]
    parts.extend(places[:SHOWN])
    if len(places) > SHOWN:
        parts.append(f"and {len(places) - SHOWN} more")
    cursor = update.cursor
    if cursor is not None:
        parts.append(f"cursor at {cursor.x},{cursor.y}" if cursor.visible else "cursor hidden")
    parts += [f"{update.pixel_bytes} bytes", f"{update.flushes} flushes"]
    return " ".join(parts)


def spell_json(update: Update) -> str:
    """Return an update as a JSON object on one line."""
    cursor = update.cursor
    content: dict[str, Any] = {
        "update": update.number,
        "width": update.width,
        "height": update.height,
        "is_new": update.is_new,
        "rectangles": [[one.x, one.y, one.width, one.height] for one in update.changes],
        "bytes": update.pixel_bytes,
        "flushes": update.flushes,
    }
    if cursor is not None:
        content["cursor"] = {"visible": cursor.visible, "x": cursor.x, "y": cursor.y}
    return json.dumps(content)


@click.command()
@device_argument
@click.argument(
    "needles", nargs=-1, required=True, metavar="NEEDLE...", type=click.Path(path_type=Path)
)
@timeout_option
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="How far the pixels may differ: 0 for equal ones, 1 for black instead of white.",
)
@region_option
@click.option(
    "--mask", type=click.Path(path_type=Path), help="A PNG file: what is black in it may differ."
)
@click.option(
    "--save-to",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where what was seen is saved if it is not found  [default: a temporary folder]",
)
@scanout_option
@common
@click.pass_obj
def expect(
    settings: Settings,
    device: str,
    needles: tuple[Path, ...],
    timeout: float,
    tolerance: float,
    region: Rectangle | None,
    mask: Path | None,
    save_to: Path | None,
    scanout: int,
) -> None:
    """Wait until a screen shows a picture, and print where it is.

    NEEDLE is a PNG file, such as a part of a screenshot. Of several, one has to be shown. What is
    transparent in it may differ. If it is not found, three files say what was seen.
    """
    with open_screen(settings, device) as screens:
        match = screens.expect(
            needles,
            timeout=timeout,
            tolerance=tolerance,
            region=region,
            mask=mask,
            save_to=save_to,
            scanout=scanout,
        )
    facts: dict[str, Any] = {
        "needle": str(needles[match.needle]),
        "x": match.x,
        "y": match.y,
        "width": match.width,
        "height": match.height,
        "score": match.score,
    }
    if settings.json:
        show_json({"device": device, "scanout": scanout, **facts})
    elif not settings.quiet:
        say(
            "{needle} is at {x},{y}: {width}x{height} pixels, with a score of {score:.4f}".format(
                **facts
            )
        )


@click.command("wait-still")
@device_argument
@click.option(
    "--seconds", type=Seconds(), default=1.0, show_default=True, help="How long it must be still."
)
@timeout_option
@region_option
@scanout_option
@common
@click.pass_obj
def wait_still(
    settings: Settings,
    device: str,
    seconds: float,
    timeout: float,
    region: Rectangle | None,
    scanout: int,
) -> None:
    """Wait until nothing has changed on a screen for a while."""
    with open_screen(settings, device) as screens:
        found = screens.wait_still(seconds, timeout=timeout, region=region, scanout=scanout)
    if settings.json:
        show_json(
            {"device": device, "scanout": scanout, "width": found.width, "height": found.height}
        )
    elif not settings.quiet:
        say(f"{device}: screen {scanout} of {found.width}x{found.height} is still")
