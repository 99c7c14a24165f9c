"""`virtmesh tokens`: bearer tokens, for clients that can't show a certificate."""

# ruff: noqa: FBT001 - click hands each option over as a parameter

from __future__ import annotations

from pathlib import Path

import click

from virtmesh_client.atomic_file import check_target
from virtmesh_client.cli.security.common import (
    STANDARD_OUTPUT,
    days_option,
    folder_option,
    force_option,
    opened,
    role_option,
    tell,
    write_private,
)
from virtmesh_client.cli.settings import Settings, common
from virtmesh_client.cli.show import show_json, show_table
from virtmesh_common.printable import say
from virtmesh_common.security.roles import Role

DAYS = 90


@click.group()
@common
def tokens() -> None:
    """Make tokens for clients without a certificate.

    \b
    A token goes over TLS to the listener for tokens (--listen-tokens HOST:PORT), in the metadata
    `authorization: Bearer TOKEN`. The machine keeps only its hash.
      virtmesh tokens issue --role observer ci ci.token
      virtmesh login machine.example:50052 ci.token
    """  # noqa: D301 - click wants the character


@tokens.command()
@click.argument("name")
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True))
@role_option
@days_option(DAYS)
@force_option
@folder_option
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
) -> None:
    """Issue a token to the client NAME.

    Without FILE the token alone is printed, once: nobody can print it again. FILE, or - for
    standard output, gets the token and the authority of the machine: `virtmesh login` takes both.
    """
    target = None if file is None or str(file) == STANDARD_OUTPUT else file
    if target is not None:
        check_target(target, overwrite=force)
    with opened(folder) as authority:
        text, token = authority.tokens.make(name, Role(role), days=days)
        bundle = f"{text}\n{authority.certificate}"
    if target is not None:
        write_private(target, bundle, force=force)
    if settings.json:
        content = {"file": str(target)} if target else {"token": text}
        show_json({**public(vars(token)), **content})
        return
    if target is None:
        say(text if file is None else bundle, end="\n" if file is None else "")
    tell(
        settings.quiet,
        f"issued {token.id} to {name} as {role}, until {token.expires}"
        + (f": {target}" if target else ""),
    )


@tokens.command("list")
@folder_option
@common
@click.pass_obj
def list_(settings: Settings, folder: Path) -> None:
    """List the tokens, and whether they count."""
    with opened(folder) as authority:
        rows = [{**public(vars(one)), "state": one.state()} for one in authority.tokens.all()]
    if settings.json:
        show_json(rows)
        return
    show_table(
        ("NAME", "ROLE", "STATE", "UNTIL", "ID"),
        [(one["name"], one["role"], one["state"], one["expires"], one["id"]) for one in rows],
    )


@tokens.command()
@click.argument("name", metavar="NAME|ID")
@folder_option
@common
@click.pass_obj
def revoke(settings: Settings, name: str, folder: Path) -> None:
    """Revoke the tokens of a client, or the one with an identifier."""
    with opened(folder) as authority:
        fresh = authority.tokens.revoke(name)
    if settings.json:
        show_json([public(vars(one)) for one in fresh])
        return
    for one in fresh:
        tell(settings.quiet, f"revoked {one.id} of {one.name}")
    if not fresh:
        tell(settings.quiet, f"{name} was revoked already")


def public(token: dict[str, object]) -> dict[str, object]:
    """Return what others may see of a token."""
    return {key: value for key, value in token.items() if key != "sha256"}
