"""`virtmesh serial`: commands for a serial port and its line."""

# ruff: noqa: FBT001 - click passes each option as a parameter

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from virtmesh_client.cli.seconds import Seconds
from virtmesh_client.cli.serial.common import choose_port, device_option
from virtmesh_client.cli.settings import SIZE, Settings, common
from virtmesh_client.cli.show import show_facts, show_json
from virtmesh_client.cli.sources import open_source, progress_bar
from virtmesh_client.serial.outbox import CHUNK_BYTES
from virtmesh_client.sizes import spell_size
from virtmesh_client.streams import file_pieces, remaining
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.serial import Serial
    from virtmesh_client.serial.models import FlowName, Lines, Sent

LINES = ("cts", "dsr", "ri", "dcd")

timeout_option = click.option(
    "--timeout",
    type=Seconds(min_open=True),
    default=30.0,
    show_default=True,
    help="Give up after so many seconds without progress.",
)


@click.group()
@common
def serial() -> None:
    """Show a serial port, send files and breaks, set modem lines.

    To talk to the machine, use `virtmesh console`.
    """


@serial.command()
@device_option
@common
@click.pass_obj
def info(settings: Settings, device: str | None) -> None:
    """Show the format of the port, the state of its lines, and its buffers."""
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
            ("machine", asserted_names(asdict(found.port_lines))),
            ("far end", asserted_names(asdict(found.lines))),
            ("output", f"{found.output_offset} bytes, the last {spell_size(kept)} are kept"),
            ("input waiting", f"{found.waiting_bytes} of at most {found.waiting_bytes_max} bytes"),
            ("watchers", found.watchers),
            ("epoch", found.epoch),
        ]
    )


def asserted_names(lines: dict[str, bool]) -> str:
    """Return the names of the asserted lines."""
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
@click.option("--no-flow", is_flag=True, help="Do not wait for room in the receiver: overrun it.")
@timeout_option
@device_option
@common
@click.pass_obj
def send(settings: Settings, file: str, no_flow: bool, timeout: float, device: str | None) -> None:
    """Send FILE unchanged. If FILE is -, send standard input."""
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
    """Yield the chosen port with a connected terminal."""
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
    """Set modem lines of the far end (cts, dsr, ri, dcd), and show all of them."""
    wanted: dict[str, bool] = {}
    for change in changes:
        name, _, state = change.partition("=")
        if name not in LINES or state not in {"on", "off"}:
            raise click.UsageError(
                f"{change!r} does not set a line: write {'|'.join(LINES)}=on|off"
            )
        wanted[name] = state == "on"
    with settings.connect() as machine:
        port = machine.serial(choose_port(machine, device))
        found: Lines = port.set_lines(**wanted)
    if settings.json:
        show_json(found)
    else:
        say(f"{port.name}: {asserted_names(asdict(found))}")


@serial.command()
@click.argument("size", type=SIZE)
@timeout_option
@device_option
@common
@click.pass_obj
def burst(settings: Settings, size: int, timeout: float, device: str | None) -> None:
    """Send SIZE random bytes without waiting for room, and count those that are lost."""
    begin = time.monotonic()
    with open_port(settings, device, timeout) as port:
        sent = port.write(random_pieces(size), flow="none")
    report(settings, port.name, sent, seconds=round(time.monotonic() - begin, 3))


def random_pieces(size: int) -> Iterator[bytes]:
    """Yield `size` random bytes, in pieces that fit into one message."""
    for start in range(0, size, CHUNK_BYTES):
        yield os.urandom(min(CHUNK_BYTES, size - start))


def report(settings: Settings, device: str, sent: Sent, **facts: object) -> None:
    """Print how many characters were sent, taken and lost."""
    taken = sent.characters - sent.overrun
    if settings.json:
        content = {"device": device, "sent": sent.characters, "taken": taken}
        show_json({**content, "overrun": sent.overrun, **facts})
    elif not settings.quiet:
        lost = f", {sent.overrun} lost to overruns" if sent.overrun else ""
        say(f"{device}: {sent.characters} characters sent, {taken} taken{lost}")
