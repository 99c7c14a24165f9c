"""The root command, and the commands about no one kind of device."""

from __future__ import annotations

import click

from virtmesh_client.cli.added import INSTALL_AGAIN, AddedCommands, client_has_entry_points
from virtmesh_client.cli.listed import ListedCommand
from virtmesh_client.cli.settings import common
from virtmesh_common import __version__

COMMANDS = {
    "attach": ("attachment", "Have the kernel bring a device up that was detached."),
    "certs": ("security.certs", "Make certificates for clients on other hosts."),
    "completion": ("machine", "Print the completion script of a shell."),
    "cpu": ("cpu.commands", "Run, stop and look at the CPU of a machine."),
    "detach": (
        "attachment",
        "Have the kernel give a device back, and leave it alone.",
    ),
    "devices": ("machine", "List the devices of the machine."),
    "down": ("local", "Stop a machine that `virtmesh up` started."),
    "fault": ("fault", "Make devices do wrong what you order, to see what drivers do."),
    "guest": ("guest.commands", "Boot real Linux with devices of a machine."),
    "login": ("security.login", "Store what a machine on another host asks for."),
    "logout": ("security.login", "Forget what is stored for a machine."),
    "metrics": ("metrics", "Print what a machine measures, as Prometheus reads it."),
    "registers": ("registers", "Show the registers of devices, with their fields."),
    "panel": ("panel", "Show the machine in a browser, and let people use it."),
    "report": ("report", "Show which rules of the specifications drivers broke."),
    "reset": ("attachment", "Have the kernel give a device back and bring it up anew."),
    "restart": ("restart", "End a process of the machine and start it anew."),
    "status": ("local", "Show the machines that run here, and their processes."),
    "tokens": ("security.tokens", "Make tokens for clients without a certificate."),
    "top": ("top.commands", "Show what each device is doing: rates, latencies, interrupts."),
    "trace": ("trace.commands", "Show what drivers and devices said to each other, in words."),
}
"""The modules of virtmesh_client.cli that have the commands about no one kind of device, and the
first lines of their help: only what is called is imported. Commands about a kind are added by entry
points, whoever made the kind."""


class Root(AddedCommands):
    """The root command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, which is imported when it is called."""
        if cmd_name in COMMANDS:
            module, summary = COMMANDS[cmd_name]
            place = f"virtmesh_client.cli.{module}:{cmd_name}"
            return ListedCommand(cmd_name, summary, place)
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called. Errors: UsageError."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if client_has_entry_points():
                raise
            raise click.UsageError(f"{error.format_message()} {INSTALL_AGAIN}", ctx) from None


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done, 1 error, 2 wrong usage, 3 no service answers, 4 violations found,"
    " 130 Ctrl-C.",
)
@click.version_option(__version__, "--version", prog_name="virtmesh")
@common
def cli() -> None:
    """Virtual hardware you can script, watch, break and restart."""
