"""`virtmesh input`: commands that press keys, type, move pointers and touch."""

# ruff: noqa: A001, FBT001, PLR0913, PLR0917 - a function has the name of its command, and click
# passes each option as a parameter

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtmesh_client.cli.input.batch import batch
from virtmesh_client.cli.input.common import (
    COORDINATE,
    Coordinates,
    InjectOptions,
    has_keys,
    has_layout,
    has_names,
    has_wheel,
    in_units,
    inject_options,
    injector,
    is_absolute,
    is_relative,
    is_touch,
    report,
    sum_up,
)
from virtmesh_client.cli.input.live import live
from virtmesh_client.cli.input.record import convert, play, record
from virtmesh_client.cli.input.show import info, leds, release, stats, watch
from virtmesh_client.cli.input.text import read_text
from virtmesh_client.cli.seconds import Seconds
from virtmesh_client.cli.settings import Settings, common
from virtmesh_common.input.names import button_code, parse_chord
from virtmesh_common.input.text.layouts import LOCALE
from virtmesh_common.input.text.plan import CAPS_LOCK_CHOICES, CapsLock, TextOptions

if TYPE_CHECKING:
    from virtmesh_client.cli.input.common import Fits

NEGATIVE = {"ignore_unknown_options": True}
"""Makes click read -5 as a number, not as an option."""
SECONDS = Seconds()


@click.group()
@common
def input() -> None:
    """Press keys, type, move pointers, touch; record and replay.

    When a command ends for any reason, the device releases the keys that it holds.
    """


@input.command()
@click.argument("text")
@click.option("-l", "--layout", default="us", show_default=True, help="Layout: us, de, fr, ...")
@click.option("--variant", default="", help="Variant of the layout, such as nodeadkeys.")
@click.option(
    "--locale",
    default=LOCALE,
    show_default=True,
    help="Locale of the system that is typed to: it says what dead keys compose.",
)
@click.option(
    "--caps-lock",
    type=click.Choice(CAPS_LOCK_CHOICES),
    default="lit",
    show_default=True,
    help="Caps Lock is on if its light is lit; or turn it off for the text; or take it for on or"
    " off, whatever its light says.",
)
@click.option("--delay", type=SECONDS, default=0.0, help="Seconds between two keys.")
@inject_options
@common
@click.pass_obj
def type(
    settings: Settings,
    text: str,
    layout: str,
    variant: str,
    locale: str,
    caps_lock: CapsLock,
    delay: float,
    how: InjectOptions,
) -> None:
    """Type TEXT with a keyboard layout. If TEXT is -, type standard input.

    The keys are found by the libxkbcommon of this system; where there is none, the service of the
    device finds them.
    """
    text = read_text(text)
    options = TextOptions(layout, variant, locale, caps_lock)
    with injector(settings, how, has_layout, "keyboard") as device:
        injected = device.type(text, layout=options, delay=delay, wait=how.wait)
    report(settings, device.name, injected)


@input.command()
@click.argument("chords", nargs=-1, required=True, metavar="KEY...")
@click.option("--hold", type=SECONDS, default=0.0, help="Seconds to hold each chord.")
@click.option("--count", type=click.IntRange(1), default=1, help="Times to press each chord.")
@click.option("--interval", type=SECONDS, default=0.0, help="Seconds between two presses.")
@inject_options
@common
@click.pass_obj
def key(
    settings: Settings,
    chords: tuple[str, ...],
    hold: float,
    count: int,
    interval: float,
    how: InjectOptions,
) -> None:
    """Press and release keys or chords: enter, f1, ctrl+alt+delete, volumeup."""
    codes = [code for chord in chords for code in parse_chord(chord)]
    with injector(settings, how, has_keys(codes), "keyboard") as device:
        injected = device.key(*chords, hold=hold, count=count, interval=interval, wait=how.wait)
    report(settings, device.name, injected)


@input.command()
@click.argument("events", nargs=-1, required=True, metavar="NAME=VALUE...")
@click.option("--any-value", is_flag=True, help="Send values of axes that are out of range too.")
@inject_options
@common
@click.pass_obj
def event(settings: Settings, events: tuple[str, ...], any_value: bool, how: InjectOptions) -> None:
    """Inject raw events: KEY_A=1 SYN_REPORT KEY_A=0.

    SYN_REPORT ends a packet.
    """
    pairs = []
    for text in events:
        name, equals, value = text.partition("=")
        try:
            pairs.append((name, int(value, 0) if equals else 0))
        except ValueError:
            raise click.UsageError(
                f"{text!r} is not an event: write NAME=NUMBER, such as KEY_A=1"
            ) from None
    with injector(settings, how, has_names([name for name, _ in pairs])) as device:
        injected = device.inject(pairs, any_value=any_value, wait=how.wait)
    report(settings, device.name, injected)


@input.command("click")
@click.argument("button", default="left")
@click.option("--count", type=click.IntRange(1), default=1, help="2 for a double click.")
@click.option("--hold", type=SECONDS, default=0.02, show_default=True, help="Seconds to hold it.")
@click.option("--at", "place", type=(COORDINATE, COORDINATE), help="First move to the point X Y.")
@inject_options
@common
@click.pass_obj
def click_(
    settings: Settings,
    button: str,
    count: int,
    hold: float,
    place: Coordinates | None,
    how: InjectOptions,
) -> None:
    """Click BUTTON: left, right, middle, side, extra."""
    code = button_code(button)
    fits = has_keys([code]) if place is None else is_absolute
    with injector(settings, how, fits, "mouse" if place is None else "tablet") as device:
        parts = []
        if place is not None:
            parts.append(device.move_to(*in_units(device, place), wait=how.wait))
        parts.append(device.click(button, count=count, hold=hold, interval=2 * hold, wait=how.wait))
    report(settings, device.name, sum_up(parts))


@input.command(context_settings=NEGATIVE)
@click.argument("x", type=COORDINATE)
@click.argument("y", type=COORDINATE)
@click.option("--to", "absolute", is_flag=True, help="Move to the point X Y, not by a distance.")
@click.option("--duration", type=SECONDS, default=0.0, help="Duration of the move in seconds.")
@inject_options
@common
@click.pass_obj
def move(
    settings: Settings,
    x: float,
    y: float,
    absolute: bool,
    duration: float,
    how: InjectOptions,
) -> None:
    """Move by X Y (a mouse), or to the point X Y (a tablet, with --to or as 50% 50%)."""
    absolute = absolute or is_fraction(x, y)
    with injector(settings, how, *pointer(absolute)) as device:
        if absolute:
            injected = device.move_to(*in_units(device, (x, y)), duration=duration, wait=how.wait)
        else:
            injected = device.move_rel(int(x), int(y), duration=duration, wait=how.wait)
    report(settings, device.name, injected)


@input.command(context_settings=NEGATIVE)
@click.argument("x", type=COORDINATE)
@click.argument("y", type=COORDINATE)
@click.option(
    "--from", "start", type=(COORDINATE, COORDINATE), help="Press at the point X Y (a tablet)."
)
@click.option("--button", default="left", show_default=True, help="The button to hold.")
@click.option(
    "--duration", type=SECONDS, default=0.3, show_default=True, help="Duration in seconds."
)
@inject_options
@common
@click.pass_obj
def drag(
    settings: Settings,
    x: float,
    y: float,
    start: Coordinates | None,
    button: str,
    duration: float,
    how: InjectOptions,
) -> None:
    """Drag by X Y (a mouse), or --from a point to the point X Y (a tablet)."""
    if start is None and is_fraction(x, y):
        raise click.UsageError("a drag to a point in % needs its start: add --from X Y")
    with injector(settings, how, *pointer(start is not None)) as device:
        injected = device.drag(
            in_units(device, (x, y)),
            start=in_units(device, start) if start else None,
            button=button,
            duration=duration,
            wait=how.wait,
        )
    report(settings, device.name, injected)


@input.command(context_settings=NEGATIVE)
@click.argument("notches", type=float)
@click.option("--horizontal", type=float, default=0.0, help="Notches to the right.")
@click.option("--interval", type=SECONDS, default=0.0, help="Seconds between notches.")
@inject_options
@common
@click.pass_obj
def scroll(
    settings: Settings, notches: float, horizontal: float, interval: float, how: InjectOptions
) -> None:
    """Turn the wheel by NOTCHES: up is positive; 0.5 for half a notch of a fine wheel."""
    with injector(settings, how, has_wheel, "mouse") as device:
        injected = device.scroll(notches, horizontal=horizontal, interval=interval, wait=how.wait)
    report(settings, device.name, injected)


@input.command()
@click.argument("x", type=COORDINATE)
@click.argument("y", type=COORDINATE)
@click.option("--to", "end", type=(COORDINATE, COORDINATE), help="Swipe to the point X Y.")
@click.option("--fingers", type=click.IntRange(1), default=1, help="Number of fingers that swipe.")
@click.option(
    "--duration", type=SECONDS, default=0.3, show_default=True, help="Seconds that a swipe takes."
)
@click.option(
    "--hold", type=SECONDS, default=0.05, show_default=True, help="Seconds that a tap holds."
)
@click.option("--count", type=click.IntRange(1), default=1, help="2 for a double tap.")
@inject_options
@common
@click.pass_obj
def touch(
    settings: Settings,
    x: float,
    y: float,
    end: Coordinates | None,
    fingers: int,
    duration: float,
    hold: float,
    count: int,
    how: InjectOptions,
) -> None:
    """Tap at X Y, or swipe from there with --to.

    X and Y are in units of the device, or fractions such as 50% 50%.
    """
    if end is None and fingers > 1:
        raise click.UsageError(f"only one finger can tap, not {fingers}: add --to X Y to swipe")
    with injector(settings, how, is_touch) as device:
        start = in_units(device, (x, y))
        if end is None:
            injected = device.tap(*start, hold=hold, count=count, wait=how.wait)
        else:
            injected = device.swipe(
                start, in_units(device, end), duration=duration, fingers=fingers, wait=how.wait
            )
    report(settings, device.name, injected)


def pointer(absolute: bool) -> tuple[Fits, str]:
    """Return the condition for devices that can make a move, and the default device name."""
    return (is_absolute, "tablet") if absolute else (is_relative, "mouse")


def is_fraction(x: float, y: float) -> bool:
    """Return whether a point is given as fractions, which only absolute devices support."""
    return isinstance(x, float) or isinstance(y, float)


for command in (info, leds, release, stats, watch, record, play, convert, batch, live):
    input.add_command(command)
