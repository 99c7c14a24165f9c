"""`virtmesh fault`: what devices do wrong because it is ordered."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from virtmesh_client.cli.settings import Settings, common, complete_device, device_argument
from virtmesh_client.cli.show import show_json, show_table
from virtmesh_common.errors import NotOffered
from virtmesh_common.fault.spec import parse_words
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from virtmesh_client.fault import Fault
    from virtmesh_client.machine import Machine

COLUMNS = ("DEVICE", "FAULT", "SEEN", "TAKEN", "WHAT")


@click.group()
@common
def fault() -> None:
    """Make devices do wrong what you order, to see what drivers do.

    \b
    A fault takes hold in the device, so it is the same for every driver:
    this kernel, a vhost-user guest, a guest of the CPU.
      virtmesh fault add vda io-error type=write sectors=2048-4095 every=3
      virtmesh fault list
      virtmesh fault clear vda
    """  # noqa: D301 - click wants the character


@fault.command()
@device_argument
@click.argument("kind")
@click.argument("options", nargs=-1, metavar="[KEY=VALUE]...")
@common
@click.pass_obj
def add(settings: Settings, device: str, kind: str, options: tuple[str, ...]) -> None:
    """Order a fault of a device.

    \b
    KIND:
      io-error       a request fails, and is not executed
    KEY=VALUE, which requests:
      type=TYPE,...  read, write, flush, get-id, discard, write-zeroes
      sectors=A-B    only those that touch a sector of the range
      queue=N        only those of a queue
    KEY=VALUE, which of these in turn:
      after=N        let N pass first
      every=N        each Nth
      probability=P  how likely, above 0 and at most 1
      limit=N        at most N
      seed=N         repeats what had that seed; without one, it is chosen
    """  # noqa: D301 - click wants the character
    try:
        spec = parse_words((kind, *options))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with settings.connect() as machine:
        found = machine.faults(device).add(spec)
    if settings.json:
        show_json(plain(found))
    elif not settings.quiet:
        say(f"fault {found.number} of {device}: {found.spec}")


@fault.command("list")
@click.argument("devices", nargs=-1, metavar="[DEVICE]...", shell_complete=complete_device)
@common
@click.pass_obj
def list_(settings: Settings, devices: tuple[str, ...]) -> None:
    """Show the faults that are ordered, and how often they took hold.

    Without a DEVICE, of all devices. SEEN are the events that the fault was about, TAKEN those
    that it took.
    """
    with settings.connect() as machine:
        found = list(read_faults(machine, tuple(dict.fromkeys(devices))))
    show(settings, found, "no faults are ordered")


@fault.command()
@click.argument("device", required=False, shell_complete=complete_device)
@click.argument("numbers", nargs=-1, type=click.IntRange(1), metavar="[FAULT]...")
@common
@click.pass_obj
def clear(settings: Settings, device: str | None, numbers: tuple[int, ...]) -> None:
    """Take faults back: those of these numbers, all of a device, or all there are.

    What they did is not undone.
    """
    with settings.connect() as machine:
        if device:
            ended = list(machine.faults(device).clear(numbers))
        else:
            names = [one.device for one in read_faults(machine, ())]
            cleared = (machine.faults(name).clear() for name in dict.fromkeys(names))
            ended = [one for found in cleared for one in found]
    show(settings, ended, "there were no faults")


def read_faults(machine: Machine, names: Sequence[str]) -> Iterator[Fault]:
    """Read the faults of devices; without names, of all that offer them. Errors: DeviceNotFound."""
    if names:
        for name in names:
            yield from machine.faults(name).list()
        return
    for device in machine.devices():
        try:
            yield from machine.faults(device.name).list()
        except NotOffered:  # A device of an older version.
            continue


def show(settings: Settings, faults: Sequence[Fault], nothing: str) -> None:
    """Print faults as a table; without any, one line."""
    if settings.json:
        show_json([plain(one) for one in faults])
    elif faults:
        show_table(COLUMNS, spell_rows(faults))
    elif not settings.quiet:
        say(nothing)


def spell_rows(faults: Iterable[Fault]) -> Iterator[tuple[str, ...]]:
    """Spell each fault as a row."""
    for one in faults:
        yield one.device, str(one.number), str(one.seen), str(one.hits), str(one.spec)


def plain(fault: Fault) -> dict[str, Any]:
    """Return a fault as JSON has it, with its words."""
    return asdict(fault) | {"words": str(fault.spec)}
