"""Options of every service that say who may call it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from virtmesh.kinds.option_types import Address
from virtmesh.rpc.locks import NO_LOCKS, SYNTAX, Locks, parse_role_socket
from virtmesh.sandbox import Access, Needs, ports_in, socket_folders

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.rpc.locks import Listener

Command = TypeVar("Command", bound="Callable[..., Any]")


class RoleSocket(click.ParamType["Listener"]):
    """A unix socket for a role."""

    name = "role socket"

    def convert(
        self, value: str | Listener, param: click.Parameter | None, ctx: click.Context | None
    ) -> Listener:
        """Read the text."""
        if not isinstance(value, str):
            return value
        try:
            return parse_role_socket(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "--security",
        {
            "type": click.Path(path_type=Path),
            "metavar": "DIR",
            "help": "Folder of `virtmesh certs init`: TCP gets TLS, and clients show certificates.",
        },
    ),
    (
        "--listen-tokens",
        {
            "multiple": True,
            "type": Address(),
            "metavar": "HOST:PORT",
            "help": "TLS for clients with bearer tokens; may be repeated.",
        },
    ),
    (
        "--listen-role",
        {
            "multiple": True,
            "type": RoleSocket(),
            "metavar": SYNTAX,
            "help": "A unix socket for a role; may be repeated.",
        },
    ),
    (
        "--insecure",
        {
            "is_flag": True,
            "help": "Let anyone do everything who reaches a TCP address without TLS.",
        },
    ),
)


def lock_options() -> tuple[click.Option, ...]:
    """Make the options, for one command."""
    return tuple(click.Option([name], **attributes) for name, attributes in OPTIONS)


def with_lock_options(command: Command) -> Command:
    """Give a function that becomes a command the options."""
    for name, attributes in reversed(OPTIONS):
        command = click.option(name, **attributes)(command)
    return command


def take_locks(options: dict[str, Any], default: Locks = NO_LOCKS) -> Locks:
    """Take what the options say out of a command's options; `default` is the machine file's."""
    return Locks(
        options.pop("security") or default.security,
        options.pop("listen_tokens") or default.tokens,
        options.pop("listen_role") or default.roles,
        insecure=options.pop("insecure") or default.insecure,
    )


def needs_of_locks(locks: Locks) -> Needs:
    """Return what a service needs of its sandbox that listens behind these locks.

    The files of the security folder are replaced and read again while it serves.
    """
    places = [*locks.tokens, *(one.address for one in locks.roles)]
    folder = [(locks.security, Access.READ)] if locks.security is not None else []
    return Needs((*socket_folders(places), *folder), bind=ports_in(places))
