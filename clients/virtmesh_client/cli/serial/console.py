"""`virtmesh console`: a person's window, a script's pipes, a pseudo-terminal, or a TCP port."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from virtmesh_client.cli.serial.ask import Ask
from virtmesh_client.cli.serial.common import KEY, choose_port, device_option
from virtmesh_client.cli.settings import SIZE, Settings, common

LOOPBACK = "127.0.0.1"


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
    # Terminals and pseudo-terminals are those of Unix.
    from virtmesh_client.cli.serial import sessions  # noqa: PLC0415

    with settings.connect() as machine:
        name = choose_port(machine, device)
        if pty is not None:
            sessions.run_pty(machine, name, ask, Path(pty) if pty else None)
        elif rfc2217 is not None:
            sessions.run_rfc2217(machine, name, ask, rfc2217)
        elif in_window:
            sessions.run_window(machine, name, ask)
        else:
            sessions.run_pipes(machine, name, ask)


def refuse_what_is_for_one(ask: Ask) -> None:
    """Refuse options that a port for other programs can't keep. Errors: UsageError."""
    options = {"--read-only": ask.read_only, "--log": ask.log, "--until": ask.until}
    given = [name for name, value in {**options, "--wait": ask.wait}.items() if value]
    if given:
        raise click.UsageError(
            f"{', '.join(given)}: not with --pty or --rfc2217, which pass everything on; run"
            " another console for that"
        )
