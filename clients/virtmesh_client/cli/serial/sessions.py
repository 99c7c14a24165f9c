"""The four kinds of console: on a terminal, on pipes, as a pseudo-terminal, as a TCP server.

They need Unix.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import sys
from typing import TYPE_CHECKING, BinaryIO

import click

from virtmesh_client.cli.closed_output import ending_when_closed
from virtmesh_client.cli.serial.common import spell_key
from virtmesh_client.listening import spell_host_port
from virtmesh_client.serial.console import ConsoleOptions, ConsolePump, EndCondition
from virtmesh_client.serial.models import OLDEST
from virtmesh_client.serial.pty import PseudoTerminal, PtyPump, symlink_kept
from virtmesh_client.serial.pump import FilePair
from virtmesh_client.serial.raw_terminal import raw_terminal, terminal_restored
from virtmesh_client.serial.rfc2217 import Rfc2217Server
from virtmesh_common.errors import DeviceLost
from virtmesh_common.printable import printable, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from virtmesh_client.cli.serial.arguments import ConsoleArguments
    from virtmesh_client.machine import Machine
    from virtmesh_client.serial.terminal import SerialTerminal

TAIL_BYTES = 4096
"""Size of the earlier output that a console on a terminal shows first."""
QUIET_SECONDS = 1.0
"""How long a script waits without output before it ends."""
UNTIL_SECONDS = 30.0
"""How long a script with --until waits without output before it fails."""
NO_FILE = -1


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
            sys.stderr.write(f"{line_end if escape else ''}[{printable(line)}]{line_end}")
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
    # One that sends ends when what it has sent is answered.
    watching = ending_when_closed() if arguments.read_only else contextlib.nullcontext()
    with (
        watching,
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
        say(
            json.dumps({"device": name, "pty": files.path, "link": str(link or "")})
            if arguments.settings.json
            else shown
        )
        PtyPump(terminal, files).run()


def is_loopback(host: str) -> bool:
    """Say whether only this host reaches a name or an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def run_rfc2217(
    machine: Machine, name: str, arguments: ConsoleArguments, address: tuple[str, int]
) -> None:
    """Serve a TCP port until Ctrl-C. Errors: UsageError for one that others could reach."""
    if not arguments.settings.insecure and not is_loopback(address[0]):
        raise click.UsageError(
            f"others can reach {address[0]}, and RFC 2217 has neither encryption nor a log-in:"
            " listen on loopback behind ssh -L or socat (docs/serial.md), or add --insecure"
        )

    def tell(line: str) -> None:
        if not arguments.settings.quiet:
            say(line, err=True)

    server = Rfc2217Server(address, lambda: plug_in(machine, name, arguments, 0), tell)
    host, port = server.address
    url = f"rfc2217://{spell_host_port(host, port)}"
    facts = {"device": name, "host": host, "port": port, "url": url}
    say(json.dumps(facts) if arguments.settings.json else url)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
