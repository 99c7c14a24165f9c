"""`virtmesh console`: a person's window, a script's pipes, a pseudo-terminal, or a TCP port."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from virtmesh_client.cli.serial.common import KEY, choose_port, device_option, spell_key
from virtmesh_client.cli.settings import SIZE, Settings, common
from virtmesh_client.serial.console import Console, Ending, Options
from virtmesh_client.serial.models import OLDEST
from virtmesh_client.serial.pty import PseudoTerminal, PtyPump, linked
from virtmesh_client.serial.pump import Files
from virtmesh_client.serial.raw_terminal import raw_window, screen_restored
from virtmesh_client.serial.rfc2217 import Server
from virtmesh_common.errors import DeviceLost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.machine import Machine
    from virtmesh_client.serial.terminal import Terminal

TAIL_BYTES = 4096
"""What a person is shown of what came before."""
QUIET_SECONDS = 1.0
UNTIL_SECONDS = 30.0
"""How long a script waits in silence, without a pattern and with one."""
NO_FILE = -1
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ask:
    """What the command line asks for."""

    settings: Settings
    escape: bytes
    tail: int | None
    from_start: bool
    read_only: bool
    log: Path | None
    until: re.Pattern[str] | None
    wait: float | None


class Regex(click.ParamType["re.Pattern[str]"]):
    """A regular expression."""

    name = "regex"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> re.Pattern[str]:
        """Compile it."""
        try:
            return re.compile(str(value))
        except re.error as error:
            self.fail(f"{value!r} is no regular expression: {error}", param, ctx)


class HostPort(click.ParamType[tuple[str, int]]):
    """Where to listen: HOST:PORT, or PORT on this host alone; port 0 takes a free one."""

    name = "host:port"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return host and port."""
        host, _, port = str(value).rpartition(":")
        if not port.isdecimal() or int(port) > 0xFFFF:
            self.fail(f"{value!r} is no address: write HOST:PORT, or PORT", param, ctx)
        return host.strip("[]") or LOOPBACK, int(port)


@click.command()
@device_option
@click.option(
    "--escape",
    type=KEY,
    default="ctrl-]",
    show_default=True,
    help="Key that leaves: ctrl-a, ^A, or none.",
)
@click.option("--tail", type=SIZE, help="Begin with the last bytes  [default in a window: 4K]")
@click.option("--from-start", is_flag=True, help="Begin with the oldest byte that is kept.")
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append what the machine sends to a file.",
)
@click.option("--read-only", is_flag=True, help="Send nothing.")
@click.option("--until", type=Regex(), help="End when the machine has sent this.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds of silence that end it  [default without a window: 1, with --until 30]",
)
@click.option(
    "--pty",
    is_flag=False,
    flag_value="",
    metavar="[LINK]",
    help="Make a pseudo-terminal of it, for picocom, minicom, pexpect; with a link to it.",
)
@click.option(
    "--rfc2217",
    type=HostPort(),
    help="Make a TCP port of it, for pyserial's rfc2217:// and for telnet.",
)
@common
@click.pass_obj
def console(
    settings: Settings,
    /,
    device: str | None,
    pty: str | None,
    rfc2217: tuple[str, int] | None,
    **asked: object,
) -> None:
    """Talk to the machine on its serial console.

    In a window every key goes to the machine, Ctrl-C too; Ctrl-] leaves. Without a window,
    standard input is sent, and the command ends after it, when the machine is silent or has sent
    what --until says.
    """
    ask = Ask(settings=settings, **asked)  # type: ignore[arg-type]
    if pty is not None and rfc2217 is not None:
        raise click.UsageError("--pty or --rfc2217, not both: run it twice")
    if pty is not None or rfc2217 is not None:
        refuse_what_is_for_one(ask)
    in_window = sys.stdin.isatty() and not ask.read_only
    if in_window and (ask.until or ask.wait):
        raise click.UsageError("--until and --wait are for input that ends: not in a window")
    with settings.connect() as machine:
        name = choose_port(machine, device)
        if pty is not None:
            run_pty(machine, name, ask, Path(pty) if pty else None)
        elif rfc2217 is not None:
            run_rfc2217(machine, name, ask, rfc2217)
        elif in_window:
            bounded_gather(machine, name, ask)
        else:
            run_pipes(machine, name, ask)


def refuse_what_is_for_one(ask: Ask) -> None:
    """Refuse options that a port for other programs can't keep. Errors: UsageError."""
    options = {"--read-only": ask.read_only, "--log": ask.log, "--until": ask.until}
    given = [name for name, value in {**options, "--wait": ask.wait}.items() if value]
    if given:
        raise click.UsageError(
            f"{', '.join(given)}: not with --pty or --rfc2217, which pass everything on; run"
            " another console for that"
        )


def plug_in(machine: Machine, name: str, ask: Ask, tail: int) -> Terminal:
    """Return an open terminal that begins where it was asked to."""
    since = OLDEST if ask.from_start else None
    return machine.serial(name, tail=tail if ask.tail is None else ask.tail, since=since).plug_in()


@contextlib.contextmanager
def options(ask: Ask, escape: bytes | None, ending: Ending) -> Iterator[Options]:
    """Return how a console behaves; its log is open meanwhile."""
    line_end = "\r\n" if escape is not None else "\n"

    def tell(line: str) -> None:
        if not ask.settings.quiet:
            sys.stderr.write(f"{line_end if escape else ''}[{line}]{line_end}")
            sys.stderr.flush()

    with contextlib.ExitStack() as stack:
        log: BinaryIO | None = None
        if ask.log is not None:
            log = stack.enter_context(ask.log.open("ab", buffering=0))
        yield Options(escape=escape, log=log, tell=tell, ending=ending)


def bounded_gather(machine: Machine, name: str, ask: Ask) -> None:
    """Be a person's window until the key that leaves."""
    source, target = sys.stdin.fileno(), sys.stdout.fileno()
    terminal = plug_in(machine, name, ask, TAIL_BYTES)
    with (
        options(ask, ask.escape, Ending()) as how,
        contextlib.closing(Files(source, target)) as files,
        screen_restored(target) as screen,
        raw_window(source),
    ):
        leave = f"{spell_key(ask.escape)} leaves" if ask.escape else "no key leaves"
        how.tell(f"{name}: {leave}")
        Console(terminal, files, how, screen).run()


def run_pipes(machine: Machine, name: str, ask: Ask) -> None:
    """Send standard input, print what the machine sends. Errors: DeviceLost when not all of it."""
    quiet = ask.wait
    if quiet is None and not ask.read_only:
        quiet = UNTIL_SECONDS if ask.until else QUIET_SECONDS
    source = NO_FILE if ask.read_only else sys.stdin.fileno()
    terminal = plug_in(machine, name, ask, 0)
    with (
        options(ask, None, Ending(ask.until, quiet)) as how,
        contextlib.closing(Files(source, sys.stdout.fileno())) as files,
    ):
        session = Console(terminal, files, how)
        session.run()
    if session.uncertain or session.missed:
        raise DeviceLost(
            f"{name} went away meanwhile: {session.uncertain} characters of the input may be lost,"
            f" {session.missed} bytes of its output are missing"
        )


def run_pty(machine: Machine, name: str, ask: Ask, link: Path | None) -> None:
    """Be a pseudo-terminal until Ctrl-C, which is its usual end."""
    terminal = plug_in(machine, name, ask, 0)
    with (
        contextlib.closing(PseudoTerminal()) as files,
        linked(link, files.path),
        contextlib.suppress(KeyboardInterrupt),
    ):
        shown = str(link) if link else files.path
        click.echo(
            json.dumps({"device": name, "pty": files.path, "link": str(link or "")})
            if ask.settings.json
            else shown
        )
        PtyPump(terminal, files).run()


def run_rfc2217(machine: Machine, name: str, ask: Ask, address: tuple[str, int]) -> None:
    """Be a TCP port until Ctrl-C, which is its usual end."""

    def tell(line: str) -> None:
        if not ask.settings.quiet:
            click.echo(line, err=True)

    server = Server(address, lambda: plug_in(machine, name, ask, 0), tell)
    host, port = server.address
    url = f"rfc2217://{f'[{host}]' if ':' in host else host}:{port}"
    facts = {"device": name, "host": host, "port": port, "url": url}
    click.echo(json.dumps(facts) if ask.settings.json else url)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
