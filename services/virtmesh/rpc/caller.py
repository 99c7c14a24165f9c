"""Who makes the call that is being served."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.security.identity import Identity, IdentityKind
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Caller:
    """An identity, and the connection that the call came over."""

    identity: Identity
    peer: str
    """As gRPC spells it, with the port: "ipv4:127.0.0.1:43210". All unix sockets are "unix:"."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody who was not let in."""

    peer: str = ""
    """As of a Caller."""
    name: str = ""
    """Who it was while its certificate or token counted; empty for nobody that is known."""
    serial: str = ""


WITHIN = Caller(Identity("this process", Role.OWNER, IdentityKind.SOCKET), "")
"""Who calls when no server does: code of this process."""

CALLER: ContextVar[Caller] = ContextVar("virtmesh-caller", default=WITHIN)
"""The caller of the call that is being served: gRPC runs each in a context of its own."""

TOUCH: ContextVar[Callable[[str], None] | None] = ContextVar("virtmesh-touch", default=None)
"""What takes down which device the call that is being served is about, for the audit."""


def touch(device: str) -> None:
    """Tell the audit the device that a call is about, where its messages have no field `device`."""
    if (take := TOUCH.get()) is not None:
        take(device)
