"""`virtmesh screen`: what a GPU shows."""

# ruff: noqa: FBT001, PLR0913, PLR0917 - click passes each option as a parameter

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from virtmesh_client.atomic_file import new_file
from virtmesh_client.cli.screen.choice import open_screen
from virtmesh_client.cli.screen.common import scanout_option
from virtmesh_client.cli.screen.record import record
from virtmesh_client.cli.screen.vnc import vnc
from virtmesh_client.cli.screen.waiting import expect, wait_still, watch
from virtmesh_client.cli.settings import Settings, common, device_argument
from virtmesh_client.cli.show import show_json, show_table
from virtmesh_client.sizes import spell_size
from virtmesh_common.printable import say

STANDARD = "-"
"""Stands for standard output."""
PNG = ".png"
"""The ending of the format that screenshots have."""
OFF = "off"
"""The mode of a screen that is not connected."""


class ModeType(click.ParamType[tuple[int, int]]):
    """A mode, such as 1280x800; `off` is (0, 0)."""

    name = "mode"

    def convert(
        self,
        value: str | tuple[int, int],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[int, int]:
        """Return width and height."""
        if not isinstance(value, str):
            return value
        if value == OFF:
            return 0, 0
        match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", value)
        if match is None or not int(match[1]) or not int(match[2]):
            self.fail(f"{value!r} is no mode: write WIDTHxHEIGHT or {OFF}", param, ctx)
        return int(match[1]), int(match[2])


@click.group()
@common
def screen() -> None:
    """See what a GPU shows: screenshots, waiting, films, modes, VNC."""


@screen.command()
@device_argument
@common
@click.pass_obj
def info(settings: Settings, device: str) -> None:
    """Describe the screens of a GPU."""
    with open_screen(settings, device) as screens:
        found = screens.info()
    if settings.json:
        show_json(found)
        return
    rows = [
        (
            one.number,
            "{}x{}".format(*one.mode) if one.connected else OFF,
            "{}x{}".format(*one.picture) if one.picture else "-",
            "{},{}".format(*one.cursor) if one.cursor else "-",
        )
        for one in found
    ]
    show_table(("screen", "mode", "picture", "cursor"), rows)


@screen.command()
@device_argument
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), required=False)
@scanout_option
@click.option("--cursor", is_flag=True, help="Draw the cursor into it.")
@click.option("-f", "--force", is_flag=True, help="Replace FILE if it exists.")
@common
@click.pass_obj
def shot(
    settings: Settings,
    device: str,
    file: Path | None,
    scanout: int,
    cursor: bool,
    force: bool,
) -> None:
    """Save what a screen shows as a PNG file.

    FILE is DEVICE.png if it is not given; - is standard output.
    """
    target = file or Path(f"{device}.png")
    check_target(target)
    with open_screen(settings, device) as screens:
        data = screens.shot(scanout, cursor=cursor)
    if str(target) == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with new_file(target, overwrite=force) as image:
        image.write(data)
    if settings.json:
        show_json({"device": device, "file": str(target), "bytes": len(data)})
    elif not settings.quiet:
        say(f"{device}: screen {scanout} is in {target} ({spell_size(len(data))})")


def check_target(target: Path) -> None:
    """Refuse a file that would not be what it seems. Errors: UsageError."""
    if str(target) == STANDARD:
        if sys.stdout.isatty():
            raise click.UsageError(
                "standard output is a terminal, which shows no PNG: name a file, or redirect it"
            )
    elif target.suffix.lower() not in {"", PNG}:
        raise click.UsageError(
            f"{target} is of another format: a screenshot is a PNG file, choose a name that ends"
            f" in {PNG}"
        )


@screen.command()
@device_argument
@click.argument("mode", type=ModeType(), metavar="WIDTHxHEIGHT|off")
@scanout_option
@common
@click.pass_obj
def mode(settings: Settings, device: str, mode: tuple[int, int], scanout: int) -> None:
    """Give a screen another preferred size, or disconnect it with `off`.

    The guest is told, and may follow.
    """
    with open_screen(settings, device) as screens:
        screens.set_mode(*mode, scanout)
    words = "prefers {}x{}".format(*mode) if mode != (0, 0) else "is disconnected"
    if settings.json:
        show_json({"device": device, "scanout": scanout, "width": mode[0], "height": mode[1]})
    elif not settings.quiet:
        say(f"{device}: screen {scanout} {words}")


@screen.command()
@device_argument
@common
@click.pass_obj
def stats(settings: Settings, device: str) -> None:
    """Show the counters of the screens."""
    with open_screen(settings, device) as screens:
        found = screens.stats()
    if settings.json:
        show_json(found)
        return
    rows = [
        (one.number, one.flushes, one.damage_bytes, one.watchers, one.flushes_merged)
        for one in found
    ]
    show_table(("screen", "flushes", "damage bytes", "watchers", "flushes merged"), rows)
    watching = [
        (one.number, each.updates, each.flushes, each.flushes_merged)
        for one in found
        for each in one.watching
    ]
    if watching:
        say()
        show_table(("watcher of screen", "updates", "flushes", "flushes merged"), watching)


for command in (watch, expect, wait_still, record, vnc):
    screen.add_command(command)
