"""`virtmesh console`: on a terminal, on pipes, as a pseudo-terminal, or as a TCP server."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from virtmesh_client.cli.host_port import HOST_PORT
from virtmesh_client.cli.seconds import Seconds
from virtmesh_client.cli.serial.arguments import ConsoleArguments
from virtmesh_client.cli.serial.common import KEY, choose_port, device_option
from virtmesh_client.cli.settings import SIZE, Settings, common


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
    type=Seconds(min_open=True),
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
    type=HOST_PORT,
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
    # Consoles need terminals and pseudo-terminals, which only Unix has.
    from virtmesh_client.cli.serial import sessions  # noqa: PLC0415

    with settings.connect() as machine:
        name = choose_port(machine, device)
        if pty is not None:
            sessions.run_pty(machine, name, arguments, Path(pty) if pty else None)
        elif rfc2217 is not None:
            sessions.run_rfc2217(machine, name, arguments, rfc2217)
        elif in_window:
            sessions.run_terminal(machine, name, arguments)
        else:
            sessions.run_pipes(machine, name, arguments)


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
