"""Who a caller is, and how the service knows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtmesh_common.security.roles import Role


class IdentityKind(StrEnum):
    """What an identity rests on."""

    CERTIFICATE = "certificate"
    """A client certificate that the machine's own authority has issued."""
    TOKEN = "token"  # noqa: S105 - no password
    """A bearer token, sent over TLS."""
    SOCKET = "socket"
    """A unix socket that the caller may open: who it is, the host knows."""
    LOOPBACK = "loopback"
    """A TCP connection of this host."""
    INSECURE = "insecure"
    """Nothing: a TCP listener that was opened to anyone by --insecure."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller by name, and what it may do."""

    name: str
    role: Role
    kind: IdentityKind
    serial: str = ""
    """What revocation names: of a certificate its serial number in hexadecimal, of a token its id;
    empty for other kinds."""
    expires: float | None = None
    """Seconds since the epoch (UTC) from which it counts no more; None: it does not expire."""
    issuer: str = ""
    """The public key of the authority that signed a certificate, as
    `virtmesh_common.security.client_certificates` spells it; empty for others."""
