"""Shared parts of the commands of `virtmesh input`: device choice, options, and the report."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from virtmesh_client.cli.seconds import Seconds
from virtmesh_client.cli.settings import complete_device
from virtmesh_client.cli.show import show_json
from virtmesh_client.input.models import Injected, InputInfo
from virtmesh_client.models import names_of
from virtmesh_common.errors import DeviceLost, DeviceNotFound, DeviceNotReady
from virtmesh_common.evdev import CODES
from virtmesh_common.input.events import EV_ABS, EV_KEY, EV_LED, EV_REL, event
from virtmesh_common.printable import say
from virtmesh_common.virtio.ids import VirtioId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from virtmesh_client.cli.settings import Settings
    from virtmesh_client.input import Input
    from virtmesh_client.machine import Machine

    Fits = Callable[[InputInfo], bool]

Function = TypeVar("Function", bound="Callable[..., Any]")

ABS, REL, KEY = CODES["EV_ABS"], CODES["EV_REL"], CODES["EV_KEY"]


@dataclass(frozen=True)
class InjectOptions:
    """The options that all injecting commands have."""

    device: str | None
    wait: Any
    overflow: Any
    timeout: float | None


device_option = click.option(
    "-d",
    "--device",
    shell_complete=complete_device,
    help="Input device  [default: the one that can do this]",
)

INJECT_OPTIONS = (
    device_option,
    click.option(
        "--wait",
        type=click.Choice(["none", "accepted", "delivered"]),
        default="accepted",
        show_default=True,
        help="Return at once, when the device has accepted all packets, or when the driver has"
        " received them.",
    ),
    click.option(
        "--overflow",
        type=click.Choice(["wait", "refuse"]),
        default="wait",
        show_default=True,
        help="When the device's waiting room is full: wait for room, or refuse the packet.",
    ),
    click.option(
        "--timeout",
        type=Seconds(min_open=True),
        help="Give up after so many seconds without progress  [default: no limit]",
    ),
)


def inject_options(function: Function) -> Function:
    """Add the options of injecting commands to a command. It gets them as one argument, `how`."""

    @functools.wraps(function)
    def command(
        *args: object,
        device: str | None,
        wait: str,
        overflow: str,
        timeout: float | None,
        **kwargs: object,
    ) -> object:
        return function(*args, how=InjectOptions(device, wait, overflow, timeout), **kwargs)

    for option in reversed(INJECT_OPTIONS):
        command = option(command)
    return command  # type: ignore[return-value]


def has_keys(codes: Sequence[int]) -> Fits:
    """Return the condition that a device has all these keys or buttons."""
    return lambda info: all(info.has(EV_KEY, code) for code in codes)


def has_names(names: Sequence[str]) -> Fits:
    """Return the condition that a device has all these event codes."""
    events = [event(name, 0) for name in names]
    return lambda info: all(info.has_event(one) for one in events if not one.is_report)


def has_layout(info: InputInfo) -> bool:
    """Return whether a device is a keyboard."""
    return info.has(EV_KEY, KEY["KEY_A"]) and info.has(EV_KEY, KEY["KEY_ENTER"])


def is_relative(info: InputInfo) -> bool:
    """Return whether a device has relative axes, as a mouse does."""
    return info.has(EV_REL, REL["REL_X"])


def is_touch(info: InputInfo) -> bool:
    """Return whether a device is a multi-touch device."""
    return info.has(EV_ABS, ABS["ABS_MT_SLOT"])


def is_absolute(info: InputInfo) -> bool:
    """Return whether a device has absolute axes without multi-touch, as a tablet does."""
    return info.has(EV_ABS, ABS["ABS_X"]) and not is_touch(info)


def has_wheel(info: InputInfo) -> bool:
    """Return whether a device has a wheel."""
    return info.has(EV_REL, REL["REL_WHEEL"])


def has_leds(info: InputInfo) -> bool:
    """Return whether a device has LEDs."""
    return bool(info.capabilities.get(EV_LED))


def is_any(_info: InputInfo) -> bool:
    """Accept any device."""
    return True


def input_devices(machine: Machine) -> list[str]:
    """Return the names of the input devices that the kernel drives."""
    return names_of(machine.devices(), VirtioId.INPUT)


def choose(machine: Machine, name: str | None, fits: Fits, usual: str = "") -> str:
    """Return the name of the device to use: `name`, or the one that fits.

    If several fit, the one named `usual` is taken. Errors: DeviceNotFound; UsageError if several
    fit and none is named `usual`.
    """
    if name is not None:
        return name
    names = input_devices(machine)
    return choose_among(names, lambda one: machine.input(one).info(), fits, usual)


def choose_among(
    names: list[str], info_of: Callable[[str], InputInfo], fits: Fits, usual: str
) -> str:
    """Return that of the devices which fits; see `choose`."""
    if len(names) > 1:
        names = [one for one in names if fits(info_of(one))]
    if not names:
        raise DeviceNotFound("no input device of the machine can do this")
    if usual in names:
        return usual
    if len(names) > 1:
        raise click.UsageError(
            f"several devices can do this: choose one with --device {' or '.join(names)}"
        )
    return names[0]


@contextlib.contextmanager
def injector(
    settings: Settings, how: InjectOptions, fits: Fits, usual: str = ""
) -> Iterator[Input]:
    """Open the chosen device. The device releases all its keys at the end.

    In a batch the device stays open until the end of the batch.
    """
    if settings.injectors is not None:
        yield settings.injectors.get(how, fits, usual)
        return
    with settings.connect() as machine:
        name = choose(machine, how.device, fits, usual)
        with machine.input(name, overflow=how.overflow, timeout=how.timeout) as device:
            yield device


def report(settings: Settings, device: str, injected: Injected, **facts: object) -> None:
    """Print the outcome of packets. Errors: DeviceNotReady if some were refused; DeviceLost."""
    if settings.json:
        show_json({"device": device, **asdict(injected), **facts})
    elif not settings.quiet and injected.outcome not in {"refused", "lost"}:
        more = "".join(f", {name.replace('_', ' ')} {value}" for name, value in facts.items())
        say(
            f"{device}: {plural(injected.packets, 'packet')} {injected.outcome}"
            f" ({plural(injected.events, 'event')}){more}"
        )
    if injected.refused:
        raise DeviceNotReady(
            f"{device} refused {injected.refused} of {injected.packets} packets: its waiting room"
            " is full (use --overflow wait to wait for room)"
        )
    if injected.lost:
        raise DeviceLost(
            f"{injected.lost} of {injected.packets} packets were lost: the driver of {device} went"
            " away"
        )


def plural(count: int, what: str) -> str:
    """Return a number with its noun: "1 packet", "2 packets"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def sum_up(parts: Sequence[Injected]) -> Injected:
    """Combine the outcomes of several calls into one."""
    order = ("refused", "lost", "sent", "accepted", "delivered")
    return Injected(
        outcome=min((one.outcome for one in parts), key=order.index),
        packets=sum(one.packets for one in parts),
        events=sum(one.events for one in parts),
        first=parts[0].first,
        last=parts[-1].last,
        device_packet=parts[-1].device_packet,
        waiting=parts[-1].waiting,
        refused=sum(one.refused for one in parts),
        lost=sum(one.lost for one in parts),
    )


class CoordinateType(click.ParamType[int | float]):
    """A coordinate: 100 is in units of the device (int), 50% a fraction of its axis (float)."""

    name = "coordinate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | float:
        """Return the units or the fraction."""
        text = str(value)
        try:
            return float(text[:-1]) / 100 if text.endswith("%") else int(text, 0)
        except ValueError:
            self.fail(
                f"{text!r} is not a coordinate: write units, such as 100, or a fraction, such as"
                " 50%",
                param,
                ctx,
            )


COORDINATE = CoordinateType()
Coordinates = tuple[int | float, int | float]


def in_units(device: Input, place: Coordinates) -> tuple[int, int]:
    """Convert coordinates to units of the device. Errors: BadEvent."""
    across, down = (value if isinstance(value, float) else 0.0 for value in place)
    if not any(isinstance(value, float) for value in place):
        return int(place[0]), int(place[1])
    x, y = device.point(across, down)
    return (
        x if isinstance(place[0], float) else place[0],
        y if isinstance(place[1], float) else place[1],
    )
