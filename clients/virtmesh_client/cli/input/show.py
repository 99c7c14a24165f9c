"""`virtmesh input info|watch|leds|release|stats`: commands that show an input device."""

# ruff: noqa: FBT001 - click passes each option as a parameter

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

import click

from virtmesh_client.cli.closed_output import ending_when_closed
from virtmesh_client.cli.input.common import (
    choose,
    device_option,
    has_leds,
    input_devices,
    is_any,
)
from virtmesh_client.cli.seconds import Seconds
from virtmesh_client.cli.settings import Settings, common
from virtmesh_client.cli.show import show_facts, show_json
from virtmesh_client.input.recording import AXIS_FIELDS, PROPERTY_NAMES, spell_device
from virtmesh_common.evdev import CODES, name_of, type_name
from virtmesh_common.input.events import EV_ABS, EV_LED
from virtmesh_common.input.names import led_code
from virtmesh_common.printable import printable, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.input import InputInfo, Received

LED_NAMES = {code: name.removeprefix("LED_").lower() for name, code in CODES["EV_LED"].items()}
seconds_option = click.option(
    "--seconds", type=Seconds(min_open=True), help="Stop after so many seconds."
)


@click.command()
@device_option
@common
@click.pass_obj
def info(settings: Settings, device: str | None) -> None:
    """Describe an input device in the format of evtest."""
    with settings.connect() as machine:
        found = machine.input(choose(machine, device, is_any)).info()
    if settings.json:
        leds = [name_of(EV_LED, code) for code in found.leds_on]
        show_json({**spell_device(found), "leds_on": leds})
        return
    for line in describe(found):
        say(printable(line))


def describe(found: InputInfo) -> Iterator[str]:
    """Yield the lines that evtest prints for a device."""
    bus, vendor, product, version = found.ids
    yield (
        f"Input device ID: bus {bus:#x} vendor {vendor:#x} product {product:#x}"
        f" version {version:#x}"
    )
    yield f'Input device name: "{found.name}"'
    yield f'Serial: "{found.serial}"'
    yield f"Personality: {found.personality}"
    yield "Supported events:"
    for kind, codes in sorted(found.capabilities.items()):
        yield f"  Event type {kind} ({type_name(kind)})"
        for code in sorted(codes):
            on = ", on" if kind == EV_LED and code in found.leds_on else ""
            yield f"    Event code {code} ({name_of(kind, code)}){on}"
            if kind == EV_ABS and code in found.axes:
                axis = found.axes[code]
                for field in AXIS_FIELDS:
                    yield f"      {field.capitalize():<10} {getattr(axis, field):6}"
    yield "Properties:"
    for number in found.properties:
        yield f"  Property type {number} ({PROPERTY_NAMES.get(number, number)})"


@click.command()
@device_option
@seconds_option
@click.option("--events", type=click.IntRange(1), help="Stop after so many events.")
@common
@click.pass_obj
def watch(
    settings: Settings, device: str | None, seconds: float | None, events: int | None
) -> None:
    """Print the events that the driver receives, in the format of evtest, until Ctrl-C.

    With --json, each line is one object.
    """
    with settings.connect() as machine:
        name = choose(machine, device, is_any)
        with ending_when_closed(), machine.input(name).watch(seconds=seconds) as stream:
            if not settings.json and not settings.quiet:
                say(f"Watching {name}; press Ctrl-C to stop", err=True)
            for received in islice(stream, events):
                say(spell_json(received) if settings.json else spell_line(received))


def spell_line(received: Received) -> str:
    """Return the line that evtest prints for an event."""
    event = received.event
    time = f"Event: time {received.time_us // 1_000_000}.{received.time_us % 1_000_000:06}"
    if event.is_report:
        return f"{time}, -------------- SYN_REPORT ------------"
    return (
        f"{time}, type {event.type} ({event.type_name}), code {event.code} ({event.code_name}),"
        f" value {event.value}"
    )


def spell_json(received: Received) -> str:
    """Return an event as a JSON object on one line."""
    event = received.event
    return json.dumps(
        {
            "sequence": received.sequence,
            "time_us": received.time_us,
            "type": event.type_name,
            "code": event.code_name,
            "value": event.value,
        }
    )


@click.command()
@click.option("--follow", is_flag=True, help="Print every change, until Ctrl-C.")
@click.option("--set", "change", metavar="LED=on|off", help="Turn an LED on or off.")
@seconds_option
@device_option
@common
@click.pass_obj
def leds(
    settings: Settings, follow: bool, change: str | None, seconds: float | None, device: str | None
) -> None:
    """Show the LEDs that the operating system has turned on."""
    with settings.connect() as machine:
        name = choose(machine, device, has_leds)
        chosen = machine.input(name)
        if change is not None:
            led, _, state = change.partition("=")
            if state not in {"on", "off"}:
                raise click.UsageError(
                    f"--set {change} is not LED=on or LED=off: write, for example, capslock=on"
                )
            led_code(led)
            with chosen.watch_output() as output:
                chosen.set_led(led, state == "on")
                # The driver sends the change through the status queue, so wait for the device.
                show_leds(settings, name, next(output).leds_on)
            return
        if not follow:
            show_leds(settings, name, chosen.info().leds_on)
            return
        with ending_when_closed(), chosen.watch_output(seconds=seconds) as output:
            show_leds(settings, name, output.leds_on, line=True)
            for packet in output:
                show_leds(settings, name, packet.leds_on, line=True)


def show_leds(settings: Settings, device: str, on: tuple[int, ...], *, line: bool = False) -> None:
    """Print the LEDs that are on."""
    names = [name_of(EV_LED, code) for code in on]
    if settings.json:
        say(json.dumps({"device": device, "leds_on": names}, indent=None if line else 2))
    else:
        say(f"{device}: {' '.join(names) or 'no LED is on'}")


@click.command()
@device_option
@common
@click.pass_obj
def release(settings: Settings, device: str | None) -> None:
    """Release every key and touch of all clients, by default on all input devices."""
    with settings.connect() as machine:
        names = [device] if device else input_devices(machine)
        released = {name: machine.input(name).release_all() for name in names}
    if settings.json:
        show_json(released)
    elif not settings.quiet:
        for name, keys in released.items():
            say(f"{name}: released {' '.join(keys) or 'nothing'}")


@click.command()
@device_option
@common
@click.pass_obj
def stats(settings: Settings, device: str | None) -> None:
    """Show the counters of an input device."""
    with settings.connect() as machine:
        counters = machine.input(choose(machine, device, is_any)).stats()
    if settings.json:
        show_json(counters)
    else:
        show_facts((name.replace("_", " "), value) for name, value in asdict(counters).items())
