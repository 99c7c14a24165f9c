"""The command that shows input events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from virtmesh.input.event_log import EVENTS_KEPT
from virtmesh.input.input_device import InputDevice
from virtmesh.input.kernel_service import as_input_device
from virtmesh.kernel.monitor.command import BadCommand, command
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.evdev import name_of, type_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from virtmesh.kernel.monitor.shell import Shell


@command(
    click.Option(["-d", "--device"], metavar="NAME", help="One device; by default all of them."),
    click.Option(
        ["-n", "count"],
        type=click.IntRange(1, EVENTS_KEPT),
        metavar="N",
        help="The last N events of each device, and no more.",
    ),
)
async def events(shell: Shell, device: str | None, count: int | None) -> None:
    """Show input events as they come, until Ctrl-C is typed.

    A line is the time in seconds since the epoch, device, type, code and value.
    """
    devices = [as_input_device(device, shell.kernel.driver(device))] if device else _all(shell)
    if count is not None:
        for one in devices:
            start = max(one.log.count - min(count, one.log.kept), 0)
            await _show(shell, one.name, *one.log.slice(start, one.log.count))
        return
    followers = [asyncio.create_task(_follow(shell, one)) for one in devices]
    try:
        await asyncio.gather(*followers)
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)


def _all(shell: Shell) -> list[InputDevice]:
    """Return the input devices that are in use."""
    found: list[InputDevice] = []
    for device in shell.kernel.devices.values():
        if isinstance(device.driver, InputDevice):
            found.append(device.driver)  # noqa: PERF401 - mypy narrows no comprehension
    if not found:
        raise BadCommand("no input device is ready. lsdev says why")
    return found


async def _follow(shell: Shell, device: InputDevice) -> None:
    """Show events as they come; a device that is lost is told of, the others go on."""
    reader = device.watch()
    while True:
        try:
            came = await reader.read()
        except VirtmeshError as error:
            await shell.write(f"{device.name}: {error}")
            return
        await _show(shell, device.name, *came)


async def _show(shell: Shell, name: str, came: Iterable[int], times_us: Iterable[int]) -> None:
    """Show events."""
    lines = "\n".join(_lines(name, came, times_us))
    if lines:
        await shell.write(lines)


def _lines(name: str, came: Iterable[int], times_us: Iterable[int]) -> Iterator[str]:
    """Spell events, one a line."""
    for event, time_us in zip(came, times_us, strict=True):
        kind, code, value = event >> 48, event >> 32 & 0xFFFF, event & 0xFFFF_FFFF
        signed = value - (value >> 31 << 32)
        seconds, micros = divmod(time_us, 1_000_000)
        yield f"{seconds}.{micros:06} {name} {type_name(kind)} {name_of(kind, code)} {signed}"
