"""`virtmesh login` and `virtmesh logout`: what this user shows to machines on other hosts."""

# ruff: noqa: FBT001 - click hands each option over as a parameter

from __future__ import annotations

import sys
from pathlib import Path

import click

from virtmesh_client.cli.settings import Settings, common
from virtmesh_client.cli.show import show_json, show_table
from virtmesh_client.security import logins
from virtmesh_client.security.credentials import Credentials, read_bounded
from virtmesh_client.security.handshake import check_own
from virtmesh_common.channel import check_address
from virtmesh_common.printable import say
from virtmesh_common.security.bundle import LIMIT_BYTES
from virtmesh_common.security.errors import BadLogin
from virtmesh_common.security.names import TOKEN

PORT = 50051
"""Where a machine listens for certificates, unless somebody says otherwise."""
CHECK_SECONDS = 15.0
"""How long the machine may take to answer."""
STANDARD_INPUT = "-"


@click.command()
@click.argument("host", required=False, metavar="[HOST[:PORT]]")
@click.argument("bundle", required=False, metavar="[BUNDLE]")
@click.option("--list", "listing", is_flag=True, help="List the addresses that have a login.")
@click.option(
    "--token",
    metavar="FILE",
    help="A file with a token alone, or - for standard input; with --ca.",
)
@click.option("--ca", type=click.Path(path_type=Path), help="The ca.pem that goes with --token.")
@click.option(
    "--server-name",
    default="",
    metavar="NAME",
    help="The name in the certificate of the machine, where HOST is another.",
)
@click.option("--no-check", is_flag=True, help="Store it without a call to the machine.")
@common
@click.pass_obj
def login(  # noqa: PLR0913, PLR0917 - click hands each over
    settings: Settings,
    host: str | None,
    bundle: str | None,
    listing: bool,
    token: str | None,
    ca: Path | None,
    server_name: str,
    no_check: bool,
) -> None:
    """Store what a machine on another host asks for.

    BUNDLE is the file of `virtmesh certs issue` or `virtmesh tokens issue`, or - for standard
    input. It is tried, and stored in the user's folder for configuration, closed to others. From
    then on, `--address HOST:PORT` and `connect("HOST:PORT")` find it.
    """
    if listing:
        list_logins(settings)
        return
    address = parse_host(host)
    credentials = read_credentials(bundle, token, ca, server_name)
    check_own(credentials)
    name = "" if no_check else check(settings, address, credentials)
    file = logins.store(address, credentials)
    if settings.json:
        show_json(
            {"address": address, "kind": credentials.kind, "machine": name, "file": str(file)}
        )
    elif not settings.quiet:
        what = f"the machine {name} at {address}" if name else address
        say(f"logged in to {what}, by {credentials.kind}")


@click.command()
@click.argument("host", metavar="HOST[:PORT]")
@common
@click.pass_obj
def logout(settings: Settings, host: str) -> None:
    """Forget what is stored for a machine.

    What was copied counts on: `virtmesh certs revoke` at the machine ends that.
    """
    address = parse_host(host)
    removed = logins.remove(address)
    if settings.json:
        show_json({"address": address, "removed": removed})
    elif not removed:
        say(f"nothing was stored for {address}", err=True)


def list_logins(settings: Settings) -> None:
    """List what is stored."""
    rows = [
        {
            "address": one.address,
            "kind": one.credentials.kind,
            "server_name": one.credentials.server_name,
            "file": str(one.file),
        }
        for one in logins.every()
    ]
    if settings.json:
        show_json(rows)
        return
    show_table(("ADDRESS", "KIND", "FILE"), [(r["address"], r["kind"], r["file"]) for r in rows])


def parse_host(host: str | None) -> str:
    """Return HOST:PORT. Errors: UsageError."""
    if not host:
        raise click.UsageError("name the machine: HOST or HOST:PORT")
    if TOKEN.search(host):  # it is not repeated: others may read what is printed
        raise click.UsageError("a token does not belong in an address: put it into a file")
    bare = host.startswith("[") and host.endswith("]")
    address = host if ":" in host and not bare else f"{host}:{PORT}"
    try:
        address = check_address(address)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if address.startswith("unix:"):
        raise click.UsageError(
            "a unix socket needs no login: its owner and mode say who may use it"
        )
    return logins.spell(address)


def read_credentials(
    bundle: str | None, token: str | None, ca: Path | None, server_name: str
) -> Credentials:
    """Return what the options mean. Errors: UsageError; SecurityError; OSError."""
    if token is None:
        if bundle is None or ca is not None:
            raise click.UsageError("give one BUNDLE, or --token with --ca")
        data = read_input(bundle)
        found = TOKEN.search(data.decode("ascii", errors="replace"))
        if found is not None:
            return Credentials.from_token(found[0], data, server_name=server_name)
        return Credentials.from_bundle(data, server_name=server_name)
    if bundle is not None or ca is None:
        raise click.UsageError("give one BUNDLE, or --token with --ca")
    text = read_input(token).decode("ascii", errors="replace").strip()
    return Credentials.from_token(text, ca, server_name=server_name)


def read_input(name: str) -> bytes:
    """Read a file, or standard input. Errors: OSError; SecurityError; UsageError for a token."""
    if TOKEN.fullmatch(name):
        raise click.UsageError(
            "a token on a command line is seen by every user of this host: put it into a file, or"
            " give - and pipe it"
        )
    if name == STANDARD_INPUT:
        data = sys.stdin.buffer.read(LIMIT_BYTES + 1)
        if not data:
            raise BadLogin("nothing came by standard input: see what was to write there")
        return data
    return read_bounded(Path(name))


def check(settings: Settings, address: str, credentials: Credentials) -> str:
    """Make one call; return the name of the machine, empty where the role may not ask for it.

    Errors: VirtmeshError.
    """
    import grpc  # noqa: PLC0415 - it takes time

    from virtmesh_client.machine import connect  # noqa: PLC0415
    from virtmesh_common.errors import VirtmeshError  # noqa: PLC0415

    with connect(
        address,
        timeout=CHECK_SECONDS,
        request_id=settings.request_id,
        credentials=credentials,
    ) as machine:
        try:
            return machine.name
        except VirtmeshError as error:
            if error.code is grpc.StatusCode.PERMISSION_DENIED:
                return ""  # the machine knows who asks
            raise
