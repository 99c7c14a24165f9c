"""`virtmesh panel`: the machine in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtmesh_client.address import find_address
from virtmesh_client.cli.serving import serve_until_signal
from virtmesh_client.cli.settings import Settings, common
from virtmesh_client.cli.show import show_json
from virtmesh_client.extras import needing
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from virtmesh_client.panel.options import PanelOptions


@click.command()
@click.option(
    "--listen",
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="Address of the page; on the loopback without --security; port 0 is any that is free.",
)
@click.option(
    "--published",
    metavar="PORT",
    help="The address is a container's: it is published on the loopback of its host only, at this"
    " port; empty where any free one was taken.",
)
@click.option(
    "--token",
    envvar="VIRTMESH_PANEL_TOKEN",
    help="What the page asks for  [default: $VIRTMESH_PANEL_TOKEN, or a new one]",
)
@click.option(
    "--security",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The security folder of the machine: the page has TLS, and `virtmesh tokens` open it too.",
)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a limit: connections (256), or sockets (64), of which a page takes a few; may be"
    " repeated.",
)
@common
@click.pass_obj
def panel(  # noqa: PLR0913 - its options
    settings: Settings,
    *,
    listen: str,
    published: str | None,
    token: str | None,
    security: Path | None,
    limits: tuple[str, ...],
) -> None:
    """Show the machine in a browser, and let people use it.

    It prints the address of the page, and serves it until Ctrl-C. Whoever has the address with its
    token can do to the machine what you can. With --security, tokens of `virtmesh tokens issue`
    open it as well: each page has what the role of its token could call.
    """
    from virtmesh_client.panel import options as wanted  # noqa: PLC0415 - it takes time
    from virtmesh_client.panel.limits import PanelLimits  # noqa: PLC0415 - as above

    try:
        host, port = wanted.parse_listen(
            listen, published=published is not None or security is not None
        )
        chosen = wanted.check_token(token) if token else wanted.make_token()
        address = find_address(settings.address)
        bounds = PanelLimits.of(limits)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    options = wanted.PanelOptions(
        host, port, chosen, security, settings.insecure, limits=bounds, tell=tell_audit
    )
    asyncio.run(serve(settings, address, options, published=published))


def tell_audit(line: str) -> None:
    """Write a line of the audit. A panel whose standard error is closed goes on without."""
    with contextlib.suppress(OSError):
        say(line, err=True)


async def serve(
    settings: Settings, address: str, options: PanelOptions, *, published: str | None
) -> None:
    """Serve the page until a signal. Errors: AddressTaken."""
    from virtmesh_client.panel.options import spell_url  # noqa: PLC0415

    with needing("panel", "the panel"):
        from virtmesh_client.panel.server import serving  # noqa: PLC0415

    async with serving(address, options) as (panel, port):
        host = panel.name(options.host) if published is None else "127.0.0.1"
        at = port if published is None else published or "PORT"
        url = spell_url(host, at, options.token, tls=options.security is not None)
        if settings.json:
            show_json({"url": url, "machine": address})
        else:
            say(f"the panel of {address} is at {url}")
        sys.stdout.flush()
        await serve_until_signal(asyncio.Event().wait())
