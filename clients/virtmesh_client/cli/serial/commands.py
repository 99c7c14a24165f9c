"""`virtmesh serial`: what a person does to a serial port and its line."""

# ruff: noqa: FBT001 - click hands each option over as a parameter

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from virtmesh_client.blk.transfer import file_pieces, remaining
from virtmesh_client.cli.blk.copy import open_source, progress_bar
from virtmesh_client.cli.serial.common import choose_port, device_option
from virtmesh_client.cli.settings import SIZE, Settings, common
from virtmesh_client.cli.show import show_facts, show_json
from virtmesh_client.serial.outbox import CHUNK_BYTES
from virtmesh_client.sizes import spell_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.serial import Serial
    from virtmesh_client.serial.models import FlowName, Lines, Sent

LINES = ("cts", "dsr", "ri", "dcd")

timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="Longest time without any progress, in seconds.",
)


@click.group()
@common
def serial() -> None:
    """Look at a serial port, send files, breaks and errors, set modem lines.

    `virtmesh console` talks to the machine.
    """


@serial.command()
@device_option
@common
@click.pass_obj
def info(settings: Settings, device: str | None) -> None:
    """Say how the port is set, and how its lines stand."""
    with settings.connect() as machine:
        found = machine.serial(choose_port(machine, device)).info()
    if settings.json:
        show_json(found)
        return
    kept = found.output_offset - found.scrollback_offset
    show_facts(
        [
            ("device", found.name),
            ("format", f"{found.format}{', paced' if found.paced else ''}"),
            ("driver", "attached" if found.attached else "none"),
            ("machine", spell_on(asdict(found.port_lines))),
            ("far end", spell_on(asdict(found.lines))),
            ("output", f"{found.output_offset} bytes, the last {spell_size(kept)} are kept"),
            ("input waiting", f"{found.waiting_bytes} of at most {found.waiting_bytes_max} bytes"),
            ("watchers", found.watchers),
            ("epoch", found.epoch),
        ]
    )


def spell_on(lines: dict[str, bool]) -> str:
    """Spell the lines that are asserted."""
    names = [name.replace("_", " ") for name, on in lines.items() if on]
    return " ".join(names).upper() or "no line is asserted"


@serial.command()
@device_option
@common
@click.pass_obj
def stats(settings: Settings, device: str | None) -> None:
    """Show the counters of the port."""
    with settings.connect() as machine:
        counters = machine.serial(choose_port(machine, device)).stats()
    if settings.json:
        show_json(counters)
    else:
        show_facts((name.replace("_", " "), value) for name, value in asdict(counters).items())


@serial.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--no-flow", is_flag=True, help="Do not wait for room: overrun the receiver.")
@timeout_option
@device_option
@common
@click.pass_obj
def send(settings: Settings, file: str, no_flow: bool, timeout: float, device: str | None) -> None:
    """Send FILE, or standard input for -, as it is."""
    with (
        open_source(file) as source,
        open_port(settings, device, timeout) as port,
        progress_bar(settings, "sending", remaining(source)) as progress,
    ):
        flow: FlowName = "none" if no_flow else "wait"
        sent = port.write(file_pieces(source), flow=flow, progress=progress)
    report(settings, port.name, sent)


@contextlib.contextmanager
def open_port(settings: Settings, device: str | None, timeout: float) -> Iterator[Serial]:
    """Plug a terminal into the port that is meant."""
    with (
        settings.connect() as machine,
        machine.serial(choose_port(machine, device), timeout=timeout) as port,
    ):
        yield port


@serial.command("break")
@timeout_option
@device_option
@common
@click.pass_obj
def send_break(settings: Settings, timeout: float, device: str | None) -> None:
    """Send a break."""
    with open_port(settings, device, timeout) as port:
        sent = port.send_break()
    report(settings, port.name, sent)


@serial.command()
@click.argument("kind", type=click.Choice(["parity", "framing"]))
@click.argument("text", default="?")
@timeout_option
@device_option
@common
@click.pass_obj
def error(settings: Settings, kind: str, text: str, timeout: float, device: str | None) -> None:
    """Send TEXT with a parity or framing error in each character."""
    with open_port(settings, device, timeout) as port:
        sent = port.inject_error("parity" if kind == "parity" else "framing", text.encode())
    report(settings, port.name, sent)


@serial.command()
@click.argument("changes", nargs=-1, metavar="[LINE=on|off]...")
@device_option
@common
@click.pass_obj
def lines(settings: Settings, changes: tuple[str, ...], device: str | None) -> None:
    """Show the modem lines of the far end, after setting some: cts, dsr, ri, dcd."""
    wanted: dict[str, bool] = {}
    for change in changes:
        name, _, state = change.partition("=")
        if name not in LINES or state not in {"on", "off"}:
            raise click.UsageError(f"{change!r}: write {'|'.join(LINES)}=on|off")
        wanted[name] = state == "on"
    with settings.connect() as machine:
        port = machine.serial(choose_port(machine, device))
        found: Lines = port.set_lines(**wanted)
    if settings.json:
        show_json(found)
    else:
        click.echo(f"{port.name}: {spell_on(asdict(found))}")


@serial.command()
@click.argument("size", type=SIZE)
@timeout_option
@device_option
@common
@click.pass_obj
def burst(settings: Settings, size: int, timeout: float, device: str | None) -> None:
    """Send SIZE random bytes without looking whether they are taken, and count the lost ones."""
    begin = time.monotonic()
    with open_port(settings, device, timeout) as port:
        sent = port.write(noise(size), flow="none")
    report(settings, port.name, sent, seconds=round(time.monotonic() - begin, 3))


def noise(size: int) -> Iterator[bytes]:
    """Yield so many random bytes, in pieces of one message."""
    for start in range(0, size, CHUNK_BYTES):
        yield os.urandom(min(CHUNK_BYTES, size - start))


def report(settings: Settings, device: str, sent: Sent, **facts: object) -> None:
    """Say what became of input."""
    taken = sent.characters - sent.overrun
    if settings.json:
        content = {"device": device, "sent": sent.characters, "taken": taken}
        show_json({**content, "overrun": sent.overrun, **facts})
    elif not settings.quiet:
        lost = f", {sent.overrun} overran it" if sent.overrun else ""
        click.echo(f"{device}: {sent.characters} characters sent, {taken} taken{lost}")
