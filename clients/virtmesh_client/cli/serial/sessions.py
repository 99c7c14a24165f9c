"""The four ways to be a console: a window, pipes, a pseudo-terminal, a TCP port. Unix only."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, BinaryIO

import click

from virtmesh_client.cli.serial.common import spell_key
from virtmesh_client.serial.console import Console, Ending, Options
from virtmesh_client.serial.models import OLDEST
from virtmesh_client.serial.pty import PseudoTerminal, PtyPump, linked
from virtmesh_client.serial.pump import Files
from virtmesh_client.serial.raw_terminal import raw_window, screen_restored
from virtmesh_client.serial.rfc2217 import Server
from virtmesh_common.errors import DeviceLost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from virtmesh_client.cli.serial.ask import Ask
    from virtmesh_client.machine import Machine
    from virtmesh_client.serial.terminal import Terminal

TAIL_BYTES = 4096
"""What a person is shown of what came before."""
QUIET_SECONDS = 1.0
UNTIL_SECONDS = 30.0
"""How long a script waits in silence, without a pattern and with one."""
NO_FILE = -1


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


def run_window(machine: Machine, name: str, ask: Ask) -> None:
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
