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
    from virtmesh_client.scenario import StepResult

COLUMNS = ("DEVICE", "FAULT", "SEEN", "TAKEN", "HELD", "WHAT", "LAST")


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
    KIND, of disks:
      io-error       a request fails, and is not executed
      delay          a request is executed later
      hang           a request is not executed until the fault is taken back
      torn-write     only the beginning of a write is written
      corrupt-write  bytes of a write are changed
      lost-flush     a flush completes, and makes nothing durable
    KIND, of virtio devices:
      lost-interrupt, late-interrupt, double-interrupt, spurious-interrupt,
      lost-notification, stuck-queue, needs-reset, config-change,
      wrong-length, wrong-id
    KIND, of input devices: dropped-packet, doubled-packet, swapped-packet
    KIND, of serial ports:
      overrun, parity-error, framing-error, break
      noise          bits are turned over: probability is the bit-error rate
    KIND, of screens: stuck-display
    KIND, of every device: kill, stop (its process)
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
    KEY=VALUE, what it does:
      delay=TIME     5ms; 1ms-20ms: uniform; exp:5ms: exponential, of that mean
      bytes=N        torn-write: so many are written; corrupt-write: changed
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
    that it took, HELD those that go on when it is taken back.
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


@fault.command()
@click.argument("scenario", metavar="FILE|NAME")
@click.option(
    "-d",
    "--device",
    "devices",
    multiple=True,
    metavar="ROLE=NAME",
    help="Which device has a role of the scenario; may be repeated  [default: the first of its"
    " kind]",
)
@click.option("--seed", type=click.IntRange(0, (1 << 63) - 1), help="Another seed than the file's.")
@common
@click.pass_obj
def run(settings: Settings, scenario: str, devices: tuple[str, ...], seed: int | None) -> None:
    """Run a scenario: a timeline of faults, and of what is expected.

    \b
    A FILE, or one that comes along:
      dying-disk       a disk gets slow, fails, hangs, and recovers
      noisy-line       a serial port receives noise, breaks, overruns
      comes-and-goes   a disk is killed, interrupts come late, and more
    The exit status is 0 if all that was expected came, and 1 if not.
    """  # noqa: D301 - click wants the character
    from virtmesh_client.scenario import load_scenario, run_scenario  # noqa: PLC0415 - gRPC

    try:
        read = load_scenario(scenario)
        roles = dict(parse_role(text) for text in devices)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if seed is not None:
        read = read.with_seed(seed)
    quiet = settings.quiet or settings.json
    if not quiet:
        say(f"{read.title or scenario} (seed {read.seed})")
    with settings.connect() as machine:
        try:
            outcome = run_scenario(
                machine, read, devices=roles, tell=(lambda _: None) if quiet else tell_step
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    if settings.json:
        show_json(asdict(outcome) | {"passed": outcome.passed})
    elif not settings.quiet:
        word = "passed" if outcome.passed else "FAILED"
        say(f"{word}: {outcome.served} operations succeeded, {outcome.failed} failed")
    if not outcome.passed:
        raise click.exceptions.Exit(1)


def parse_role(text: str) -> tuple[str, str]:
    """Read ROLE=NAME. Errors: ValueError."""
    role, equals, name = text.partition("=")
    if not (role and equals and name):
        raise ValueError(f"{text!r}: write ROLE=NAME, such as disk=vda")
    return role, name


def tell_step(step: StepResult) -> None:
    """Say what became of a step."""
    word = "ok" if step.passed else "FAILED"
    say(f"{step.seconds:7.2f}s {step.number:3} {word:6} {step.title or step.ordered}")
    if step.title and step.ordered:
        say(f"{'':12} {step.ordered}")
    for missing in step.missing:
        say(f"{'':12} missing: {missing}")


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
        counts = (one.number, one.seen, one.hits, one.held)
        yield one.device, *map(str, counts), str(one.spec), one.last or "-"


def plain(fault: Fault) -> dict[str, Any]:
    """Return a fault as JSON has it, with its words."""
    return asdict(fault) | {"words": str(fault.spec)}
