"""Where a service listens, and what lets callers in at each place."""

from __future__ import annotations

import grp
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from virtmesh_common.channel import check_address
from virtmesh_common.proxy import is_loopback
from virtmesh_common.security.errors import Unprotected
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SOCKET_MODE = 0o660
"""The owner and the group use a device, nobody else."""
SYNTAX = "ROLE=unix:PATH[,mode=0660][,group=NAME]"


class Entrance(StrEnum):
    """How a listener knows who calls."""

    SOCKET = "socket"
    """A unix socket: whoever may open it has the role of the socket."""
    CERTIFICATES = "certificates"
    """TLS, and the client shows a certificate."""
    TOKENS = "tokens"
    """TLS, and the client sends a bearer token with each call."""
    PLAIN = "plain"
    """TCP without TLS: on loopback, or opened by --insecure."""


@dataclass(frozen=True)
class Listener:
    """One place to listen at. `mode` and `group` (None: as it is) are those of a unix socket."""

    address: str
    entrance: Entrance
    role: Role = Role.OWNER
    mode: int = SOCKET_MODE
    group: int | None = None

    @property
    def is_open(self) -> bool:
        """Say whether others than processes of this host reach it, and are let in unasked."""
        return self.entrance is Entrance.PLAIN and not is_loopback(self.address)


@dataclass(frozen=True)
class Locks:
    """What protects the listeners of a service."""

    security: Path | None = None
    """The security folder. With one, TCP listeners have TLS and ask for client certificates."""
    tokens: Sequence[str] = ()
    """HOST:PORT of listeners with TLS and bearer tokens."""
    roles: Sequence[Listener] = ()
    """More unix sockets, each for a role."""
    insecure: bool = False
    """Let anyone be the owner who reaches a TCP listener without TLS."""
    of_file: bool = False
    """A machine file says all this: errors name its keys, and not options."""

    def listeners(self, addresses: Sequence[str]) -> Iterator[Listener]:
        """Say what protects each address. Errors: ValueError; Unprotected."""
        for address in map(check_address, addresses):
            if address.startswith("unix:"):
                yield Listener(address, Entrance.SOCKET)
            elif self.security is not None:
                yield Listener(address, Entrance.CERTIFICATES)
            elif self.insecure or is_loopback(address):
                yield Listener(address, Entrance.PLAIN)
            else:
                raise Unprotected(
                    f"{address}: others reach it, and nothing says who may call: make certificates"
                    f" with `virtmesh certs init DIR` and {self._add_folder}, listen on loopback"
                    f" or a unix socket, or let anyone do everything with {self._insecure}"
                )
        for address in map(check_address, self.tokens):
            if self.security is None:
                raise Unprotected(
                    f"{address}: tokens need TLS: make certificates with `virtmesh certs init DIR`,"
                    f" and {self._add_folder}"
                )
            if address.startswith("unix:"):
                raise ValueError(f"{address!r}: tokens are for TCP: write HOST:PORT")
            yield Listener(address, Entrance.TOKENS)
        for one in self.roles:
            yield replace(one, address=check_address(one.address))

    @property
    def _add_folder(self) -> str:
        """Say how a security folder is given."""
        where = 'write folder = "DIR" in [security] of the machine file'
        return where if self.of_file else "add --security DIR"

    @property
    def _insecure(self) -> str:
        """Say what lets anyone do everything."""
        return "insecure = true there" if self.of_file else "--insecure"

    def warnings(self, addresses: Sequence[str]) -> Iterator[str]:
        """Say which addresses are open. Errors: as for `listeners`."""
        return (warning_of(one.address) for one in self.listeners(addresses) if one.is_open)


NO_LOCKS = Locks()
"""Unix sockets for the owner, and TCP on loopback."""


def warning_of(address: str) -> str:
    """Say what is wrong with a listener that is open."""
    return f"{address} is open to anyone who reaches it: it has neither TLS nor names (--insecure)"


def parse_role_socket(text: str) -> Listener:
    """Read ROLE=unix:PATH[,mode=0660][,group=NAME]. Errors: ValueError, with the mend."""
    name, _, rest = text.partition("=")
    address, *options = rest.split(",")
    if name not in list(Role):
        raise ValueError(f"{text!r} begins with no role: write {SYNTAX}; roles: {', '.join(Role)}")
    if not (address.startswith("unix:") and address.removeprefix("unix:").strip("/")):
        raise ValueError(f"{text!r} names no unix socket: write {SYNTAX}")
    mode, group = SOCKET_MODE, None
    for option in options:
        key, _, value = option.partition("=")
        if key == "mode":
            mode = parse_mode(value)
        elif key == "group":
            group = find_group(value)
        else:
            raise ValueError(f"{text!r}: {option!r} is unknown: write {SYNTAX}")
    return Listener(address, Entrance.SOCKET, Role(name), mode, group)


def parse_mode(text: str) -> int:
    """Read the mode of a socket, in octal. Errors: ValueError."""
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if mode & ~0o666:
        raise ValueError(f"{text!r} is no mode of a socket: write read and write bits, as in 0660")
    return mode


def find_group(text: str) -> int:
    """Return the number of a group, by name or number. Errors: ValueError."""
    if text.isascii() and text.isdecimal() and int(text) < 1 << 32:
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        raise ValueError(f"{text!r}: this host has no such group") from None
