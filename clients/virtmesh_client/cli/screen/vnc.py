"""`virtmesh screen vnc`: a server for VNC viewers."""

# ruff: noqa: PLC0415 - what serves viewers takes time to import, and an extra

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtmesh_client.cli.host_port import HOST_PORT
from virtmesh_client.cli.screen.choice import choose_gpu, naming_gpus
from virtmesh_client.cli.screen.common import scanout_option
from virtmesh_client.cli.serving import serve_until_signal
from virtmesh_client.cli.settings import Settings, common, complete_device
from virtmesh_client.listening import spell_host_port, spell_listen_error
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from virtmesh_client.vnc import VncServer

PORT = 5900
"""The usual port of the first screen."""
LIMIT = 64
"""Most viewers that can be asked for."""


@click.command()
@click.argument("device", required=False, shell_complete=complete_device)
@click.option(
    "--listen",
    type=HOST_PORT,
    default=f"127.0.0.1:{PORT}",
    show_default=True,
    help="Where viewers connect; port 0 is any free port.",
)
@click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File whose first line is the password  [default: $VIRTMESH_VNC_PASSWORD, or none]",
)
@click.option(
    "--viewers",
    type=click.IntRange(1, LIMIT),
    default=8,
    show_default=True,
    help="Most viewers at a time.",
)
@click.option("--view-only", is_flag=True, help="Take no keys, no pointer and no sizes of viewers.")
@click.option(
    "--keyboard",
    shell_complete=complete_device,
    help="Device that gets the keys  [default: the first keyboard]",
)
@click.option(
    "--pointer",
    shell_complete=complete_device,
    help="Device that the pointer moves  [default: the first tablet, or else the first mouse]",
)
@click.option(
    "--layout",
    default="us",
    show_default=True,
    help="The guest's keyboard layout, for viewers that send characters, not keys.",
)
@scanout_option
@common
@click.pass_obj
def vnc(
    settings: Settings,
    /,
    device: str | None,
    listen: tuple[str, int],
    password_file: Path | None,
    viewers: int,
    **asked: object,
) -> None:
    """Serve a screen to VNC viewers, with keyboard and pointer, until Ctrl-C.

    DEVICE is the GPU; it can be left out if there is one. Without a password only viewers of this
    host can connect.
    """
    from virtmesh_client.async_machine import AsyncMachine
    from virtmesh_client.vnc import VncOptions, VncServer
    from virtmesh_client.vnc.password import read_password
    from virtmesh_common.gpu.errors import NoSuchScanout
    from virtmesh_common.input.errors import TypingUnavailable
    from virtmesh_common.input.text.layouts import new_keymap

    try:
        password = read_password(password_file)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"the password can't be used: {error}") from error

    def tell(line: str) -> None:
        if not settings.quiet:
            say(line, err=True)

    with contextlib.suppress(TypingUnavailable):  # the device services type then
        new_keymap(str(asked["layout"]), "")
    options = VncOptions(password=password, tell=tell, **asked)  # type: ignore[arg-type]
    with settings.connect() as machine:
        name = choose_gpu(machine, device)
        with naming_gpus(machine, name):
            found = len(machine.screen(name).info())
        if options.scanout >= found:
            raise NoSuchScanout(f"{name} has no screen {options.scanout}: it has {found}")
        server = VncServer(AsyncMachine(machine), name, options, viewers)
        asyncio.run(serve(server, name, listen, settings))


async def serve(server: VncServer, name: str, listen: tuple[str, int], settings: Settings) -> None:
    """Print where viewers connect, and serve them until a signal."""
    try:
        await server.listen(*listen)
    except ValueError as error:
        raise click.UsageError(f"can't listen on {listen[0]}:{listen[1]}: {error}") from error
    except OSError as error:
        raise click.UsageError(spell_listen_error(*listen, error)) from error
    host, port = server.address
    facts = {"device": name, "host": host, "port": port}
    say(json.dumps(facts) if settings.json else spell_host_port(host, port))
    if not settings.quiet and not settings.json:
        say(f"Serving {name} to VNC viewers; press Ctrl-C to stop", err=True)
    await serve_until_signal(server.run())
