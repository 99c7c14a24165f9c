"""`virtmesh console`: on a terminal, on pipes, as a pseudo-terminal, or as a TCP server."""

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
from virtmesh_client.serial.console import ConsoleOptions, ConsolePump, EndCondition
from virtmesh_client.serial.models import OLDEST
from virtmesh_client.serial.pty import PseudoTerminal, PtyPump, symlink_kept
from virtmesh_client.serial.pump import FilePair
from virtmesh_client.serial.raw_terminal import raw_terminal, terminal_restored
from virtmesh_client.serial.rfc2217 import Rfc2217Server
from virtmesh_common.errors import DeviceLost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.machine import Machine
    from virtmesh_client.serial.terminal import SerialTerminal

TAIL_BYTES = 4096
"""Size of the earlier output that a console on a terminal shows first."""
QUIET_SECONDS = 1.0
"""How long a script waits without output before it ends."""
UNTIL_SECONDS = 30.0
"""How long a script with --until waits without output before it fails."""
NO_FILE = -1
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ConsoleArguments:
    """The options of the command line."""

    settings: Settings
    escape: bytes
    tail: int | None
    from_start: bool
    read_only: bool
    log: Path | None
    until: re.Pattern[str] | None
    wait: float | None


class RegexType(click.ParamType["re.Pattern[str]"]):
    """A regular expression."""

    name = "regex"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> re.Pattern[str]:
        """Return the compiled expression."""
        try:
            return re.compile(str(value))
        except re.error as error:
            self.fail(f"{value!r} is not a regular expression: {error}", param, ctx)


class HostPortType(click.ParamType[tuple[str, int]]):
    """An address to listen on: HOST:PORT, or PORT for this host only. Port 0 is any free port."""

    name = "host:port"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return host and port."""
        host, _, port = str(value).rpartition(":")
        if not port.isdecimal() or int(port) > 0xFFFF:
            self.fail(f"{value!r} is not an address: write HOST:PORT, or PORT", param, ctx)
        return host.strip("[]") or LOOPBACK, int(port)


@click.command()
@device_option
@click.option(
    "--escape",
    type=KEY,
    default="ctrl-]",
    show_default=True,
    help="Key that leaves the console: ctrl-a, ^A, or none.",
)
@click.option(
    "--tail", type=SIZE, help="Show so much earlier output first  [default on a terminal: 4K]"
)
@click.option(
    "--from-start", is_flag=True, help="Show all earlier output that the service still has first."
)
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append the output of the machine to a file.",
)
@click.option("--read-only", is_flag=True, help="Send nothing to the machine.")
@click.option(
    "--until", type=RegexType(), help="End when the output matches this regular expression."
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0, min_open=True),
    help="End after so many seconds without output  [default on pipes: 1, with --until 30]",
)
@click.option(
    "--pty",
    is_flag=False,
    flag_value="",
    metavar="[LINK]",
    help="Make a pseudo-terminal for picocom, minicom or pexpect, and a symbolic link to it.",
)
@click.option(
    "--rfc2217",
    type=HostPortType(),
    help="Serve a TCP port for pyserial's rfc2217:// and for telnet.",
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

    On a terminal, every key goes to the machine, Ctrl-C too; Ctrl-] leaves the console. On pipes,
    the command sends standard input. It ends after that, when the machine is silent or its output
    matches --until.
    """
    arguments = ConsoleArguments(settings=settings, **asked)  # type: ignore[arg-type]
    if pty is not None and rfc2217 is not None:
        raise click.UsageError("give --pty or --rfc2217, not both: for both, run the command twice")
    if pty is not None or rfc2217 is not None:
        refuse_console_options(arguments)
    in_window = sys.stdin.isatty() and not arguments.read_only
    if in_window and (arguments.until or arguments.wait):
        raise click.UsageError(
            "--until and --wait do not work on a terminal, where input never ends: redirect"
            " standard input"
        )
    with settings.connect() as machine:
        name = choose_port(machine, device)
        if pty is not None:
            run_pty(machine, name, arguments, Path(pty) if pty else None)
        elif rfc2217 is not None:
            run_rfc2217(machine, name, arguments, rfc2217)
        elif in_window:
            run_terminal(machine, name, arguments)
        else:
            run_pipes(machine, name, arguments)


def refuse_console_options(arguments: ConsoleArguments) -> None:
    """Refuse options that do not work with --pty and --rfc2217. Errors: UsageError."""
    options = {
        "--read-only": arguments.read_only,
        "--log": arguments.log,
        "--until": arguments.until,
    }
    given = [name for name, value in {**options, "--wait": arguments.wait}.items() if value]
    if given:
        raise click.UsageError(
            f"{', '.join(given)} can't be used with --pty or --rfc2217, which pass all bytes on:"
            " run another console for that"
        )


def plug_in(machine: Machine, name: str, arguments: ConsoleArguments, tail: int) -> SerialTerminal:
    """Return a connected terminal that begins where the options say."""
    since = OLDEST if arguments.from_start else None
    return machine.serial(
        name, tail=tail if arguments.tail is None else arguments.tail, since=since
    ).plug_in()


@contextlib.contextmanager
def options(
    arguments: ConsoleArguments, escape: bytes | None, ending: EndCondition
) -> Iterator[ConsoleOptions]:
    """Yield the options of a console. Its log is open while the body runs."""
    line_end = "\r\n" if escape is not None else "\n"

    def tell(line: str) -> None:
        if not arguments.settings.quiet:
            sys.stderr.write(f"{line_end if escape else ''}[{line}]{line_end}")
            sys.stderr.flush()

    with contextlib.ExitStack() as stack:
        log: BinaryIO | None = None
        if arguments.log is not None:
            log = stack.enter_context(arguments.log.open("ab", buffering=0))
        yield ConsoleOptions(escape=escape, log=log, tell=tell, ending=ending)


def run_terminal(machine: Machine, name: str, arguments: ConsoleArguments) -> None:
    """Run the console on the user's terminal until the escape key."""
    source, target = sys.stdin.fileno(), sys.stdout.fileno()
    terminal = plug_in(machine, name, arguments, TAIL_BYTES)
    with (
        options(arguments, arguments.escape, EndCondition()) as how,
        contextlib.closing(FilePair(source, target)) as files,
        terminal_restored(target) as screen,
        raw_terminal(source),
    ):
        key = spell_key(arguments.escape) if arguments.escape else "no key"
        how.tell(f"{name}: {key} leaves the console")
        ConsolePump(terminal, files, how, screen).run()


def run_pipes(machine: Machine, name: str, arguments: ConsoleArguments) -> None:
    """Send standard input, and print the output. Errors: DeviceLost if some of it was lost."""
    quiet = arguments.wait
    if quiet is None and not arguments.read_only:
        quiet = UNTIL_SECONDS if arguments.until else QUIET_SECONDS
    source = NO_FILE if arguments.read_only else sys.stdin.fileno()
    terminal = plug_in(machine, name, arguments, 0)
    with (
        options(arguments, None, EndCondition(arguments.until, quiet)) as how,
        contextlib.closing(FilePair(source, sys.stdout.fileno())) as files,
    ):
        session = ConsolePump(terminal, files, how)
        session.run()
    if session.uncertain or session.missed:
        raise DeviceLost(
            f"the connection to {name} was lost meanwhile: {session.uncertain} characters of the"
            f" input may be lost, {session.missed} bytes of the output are missing"
        )


def run_pty(machine: Machine, name: str, arguments: ConsoleArguments, link: Path | None) -> None:
    """Serve a pseudo-terminal until Ctrl-C."""
    terminal = plug_in(machine, name, arguments, 0)
    with (
        contextlib.closing(PseudoTerminal()) as files,
        symlink_kept(link, files.path),
        contextlib.suppress(KeyboardInterrupt),
    ):
        shown = str(link) if link else files.path
        click.echo(
            json.dumps({"device": name, "pty": files.path, "link": str(link or "")})
            if arguments.settings.json
            else shown
        )
        PtyPump(terminal, files).run()


def run_rfc2217(
    machine: Machine, name: str, arguments: ConsoleArguments, address: tuple[str, int]
) -> None:
    """Serve a TCP port until Ctrl-C."""

    def tell(line: str) -> None:
        if not arguments.settings.quiet:
            click.echo(line, err=True)

    server = Rfc2217Server(address, lambda: plug_in(machine, name, arguments, 0), tell)
    host, port = server.address
    url = f"rfc2217://{f'[{host}]' if ':' in host else host}:{port}"
    facts = {"device": name, "host": host, "port": port, "url": url}
    click.echo(json.dumps(facts) if arguments.settings.json else url)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
