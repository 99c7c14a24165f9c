"""`virtmesh certs`: the authority of a machine, and the certificates of its clients."""

# ruff: noqa: FBT001 - click hands each option over as a parameter

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtmesh_client.atomic_file import check_target
from virtmesh_client.cli.security.common import (
    STANDARD_OUTPUT,
    days_option,
    folder_option,
    force_option,
    key_folder_option,
    opened,
    refuse_terminal,
    role_option,
    tell,
    write_private,
)
from virtmesh_client.cli.settings import Settings, common
from virtmesh_client.cli.show import show_facts, show_json, show_table
from virtmesh_client.extras import needing
from virtmesh_client.security.credentials import read_bounded
from virtmesh_common.printable import say
from virtmesh_common.security.names import CLIENT_DAYS, DAYS_MAX
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from virtmesh_common.security.authority import Authority


@click.group()
@common
def certs() -> None:
    """Make certificates for clients on other hosts.

    \b
    At the machine, once: an authority of its own, and a certificate for its listeners.
      virtmesh certs init --host machine.example
    For each client: a bundle (private key, certificate, authority) that only it should have.
      virtmesh certs issue --role operator alice
    On the host of the client, with that file:
      virtmesh login machine.example:50051 alice.pem

    \b
    Services take the folder by --security DIR. What is revoked counts no more at the next call,
    without a restart.
    """  # noqa: D301 - click wants the character


@certs.command()
@click.argument("directory", required=False, metavar="[DIR]", type=click.Path(path_type=Path))
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name or an address by which clients reach the machine; repeatable. localhost, 127.0.0.1"
    " and ::1 are always among them.",
)
@folder_option
@key_folder_option
@common
@click.pass_obj
def init(
    settings: Settings,
    directory: Path | None,
    hosts: tuple[str, ...],
    folder: Path,
    key_folder: Path | None,
) -> None:
    """Make the authority of a machine in DIR, or what is missing of it.

    Without DIR, it is the folder of --folder. It may be repeated: it adds hosts, and renews the
    certificate of the listeners before that ends. Clients keep their certificates. The key of the
    authority gets a folder of its own: services read all of DIR.
    """
    with needing("security", "this command"):
        from virtmesh_common.security.authority import Authority  # noqa: PLC0415 - it takes time
    folder = directory.absolute() if directory else folder
    named = [one for host in hosts for one in host.replace(",", " ").split()]
    try:
        with Authority.ensure(folder, named, key_folder=key_folder) as authority:
            facts = {
                "folder": str(folder),
                "key_folder": str(authority.key_folder),
                "hosts": list(authority.hosts),
                "not_after": authority.server_not_after,
            }
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if settings.json:
        show_json(facts)
    elif not settings.quiet:
        show_facts(
            [
                ("folder", facts["folder"]),
                ("key in", facts["key_folder"]),
                ("hosts", ", ".join(facts["hosts"])),
                ("server until", facts["not_after"]),
            ]
        )


@certs.command()
@click.argument("name")
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True))
@role_option
@days_option(CLIENT_DAYS)
@force_option
@folder_option
@key_folder_option
@common
@click.pass_obj
def issue(  # noqa: PLR0913, PLR0917 - click hands each over
    settings: Settings,
    name: str,
    file: Path | None,
    role: str,
    days: float,
    force: bool,
    folder: Path,
    key_folder: Path | None,
) -> None:
    """Issue a certificate to the client NAME.

    Its bundle is written to FILE, readable for this user only; without FILE, to clients/NAME.pem in
    the security folder; for -, to standard output. The file is all that the client needs: bring it
    there by a way that nobody else reads, such as scp.
    """
    to_output = str(file) == STANDARD_OUTPUT
    if to_output and not settings.json:
        refuse_terminal("a private key")
    with opened(folder, key_folder) as authority:
        target = None if to_output else choose_target(authority, name, file, force=force)
        record, bundle = authority.issue(name, Role(role), days)
        if target is not None:
            write_private(target, bundle.spell(), force=force)
    if settings.json:
        content = {"bundle": bundle.spell()} if to_output else {"file": str(target)}
        show_json({**vars(record), **content})
        return
    if to_output:
        say(bundle.spell(), end="")
    tell(
        settings.quiet,
        f"issued {record.serial} to {name} as {role}, until {record.not_after}"
        + (f": {target}" if target else ""),
    )


def choose_target(authority: Authority, name: str, file: Path | None, *, force: bool) -> Path:
    """Return where a bundle goes; what is in the way is found before anything is issued.

    Errors: OSError; ValueError for a name that can't be; SecurityError.
    """
    from virtmesh_common.security.authority import CLIENTS  # noqa: PLC0415 - it is imported now
    from virtmesh_common.security.names import check_name  # noqa: PLC0415

    if file is None:
        check_name(name)
        with authority.folder.inner(CLIENTS) as clients:
            file = clients.path / f"{name}.pem"
    check_target(file, overwrite=force)
    return file


@certs.command("list")
@folder_option
@common
@click.pass_obj
def list_(settings: Settings, folder: Path) -> None:
    """List the certificates of clients, and whether they count."""
    with opened(folder) as authority:
        revoked = authority.revocations.all()
        rows = [{**vars(one), "state": one.state(revoked)} for one in authority.issued()]
    if settings.json:
        show_json(rows)
        return
    show_table(
        ("NAME", "ROLE", "STATE", "UNTIL", "SERIAL"),
        [(one["name"], one["role"], one["state"], one["not_after"], one["serial"]) for one in rows],
    )


@certs.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--days",
    type=click.FloatRange(min=0, max=DAYS_MAX),
    default=0,
    help="How long it must still be valid.",
)
@folder_option
@common
@click.pass_obj
def check(settings: Settings, file: Path, days: float, folder: Path) -> None:
    """Say whether the bundle FILE still counts at this machine.

    The exit status is 1 if it does not parse, is of another authority, has expired or was revoked:
    a script then issues another.
    """
    with opened(folder) as authority:
        # It is imported now.
        from virtmesh_common.security.bundle import parse_bundle  # noqa: PLC0415

        bundle = parse_bundle(read_bounded(file))
        record = authority.check(bundle.certificate.encode(), days)
    if settings.json:
        show_json(vars(record))
        return
    who = f"{record.serial} of {record.name}, {record.role}"
    tell(settings.quiet, f"{who}, until {record.not_after}")


@certs.command()
@click.argument("name", metavar="NAME|SERIAL")
@folder_option
@common
@click.pass_obj
def revoke(settings: Settings, name: str, folder: Path) -> None:
    """Revoke the certificates of a client, or the one with a serial number.

    Services refuse it from their next call on, also on connections that are open.
    """
    with opened(folder) as authority:
        fresh = authority.revoke(name)
    if settings.json:
        show_json([vars(one) for one in fresh])
        return
    for one in fresh:
        tell(settings.quiet, f"revoked {one.serial} of {one.name}")
    if not fresh:
        tell(settings.quiet, f"{name} was revoked already")
