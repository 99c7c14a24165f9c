"""What opens the panel, and for whom: its own token, and those of the machine's security folder."""

from __future__ import annotations

import asyncio
import hmac
from contextvars import ContextVar
from typing import TYPE_CHECKING

from virtmesh_common.errors import VirtmeshError
from virtmesh_common.security.roles import OPERATORS, USERS, Role

if TYPE_CHECKING:
    from aiohttp import web

    from virtmesh_common.security.tokens import Tokens

ROLE: ContextVar[Role] = ContextVar("virtmesh_panel_role")
"""The role of who asks, in the task of a request."""
OPENS = frozenset((Role.OBSERVER, *USERS, *OPERATORS))
"""Roles that the panel is for: a driver has no business here."""
ADMINISTERS = ("/reset", "/detach", "/attach")
"""How paths end that need an operator; all others that change something need who injects."""
CHECK_SECONDS = 2.0
"""How often it is looked whether the token of an open socket still counts."""


class Keys:
    """Tokens that open the panel."""

    def __init__(self, own: str, tokens: Tokens | None = None) -> None:
        self._own = own.encode()
        self._tokens = tokens

    def role(self, token: str) -> Role | None:
        """Return what a token may do; None: nothing."""
        if hmac.compare_digest(token.encode("utf-8", "replace"), self._own):
            return Role.OWNER
        if self._tokens is None:
            return None
        try:
            role = self._tokens.find(token).role
        except VirtmeshError:
            return None
        return role if role in OPENS else None

    async def watch(self, token: str) -> None:
        """Return as soon as a token opens nothing any more."""
        while self.role(token) is not None:  # noqa: ASYNC110 - files tell nobody that they change
            await asyncio.sleep(CHECK_SECONDS)


def may(role: Role, request: web.Request) -> bool:
    """Say whether a role may make a request."""
    if request.method in {"GET", "HEAD"}:
        return True
    return role in (OPERATORS if request.path.endswith(ADMINISTERS) else USERS)


def may_use() -> bool:
    """Say whether who asks may type, point and write, and not only look."""
    return ROLE.get() in USERS
