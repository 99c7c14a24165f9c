"""What opens the panel, and for whom: its own token, and those of the machine's security folder."""

from __future__ import annotations

import asyncio
import hmac
from contextvars import ContextVar
from typing import TYPE_CHECKING

from virtmesh_common.errors import VirtmeshError
from virtmesh_common.security.errors import BadToken
from virtmesh_common.security.identity import Identity, IdentityKind
from virtmesh_common.security.roles import OPERATORS, USERS, Role

if TYPE_CHECKING:
    from virtmesh_common.security.tokens import Tokens

WHO: ContextVar[Identity] = ContextVar("virtmesh_panel_who")
"""Whose token it is, in the task of a request."""
OPENS = frozenset((Role.OBSERVER, *USERS, *OPERATORS))
"""Roles that the panel is for: a driver has no business here."""
OWN = Identity("panel", Role.OWNER, IdentityKind.TOKEN)
"""Who has the token that the panel printed."""
CHECK_SECONDS = 2.0
"""How often it is looked whether the token of an open socket still counts."""


class Keys:
    """Tokens that open the panel."""

    def __init__(self, own: str, tokens: Tokens | None = None) -> None:
        self._own = own.encode()
        self._tokens = tokens

    def find(self, token: str) -> Identity:
        """Return whose token it is. Errors: BadToken; BadSecurityFolder."""
        if hmac.compare_digest(token.encode("utf-8", "replace"), self._own):
            return OWN
        if self._tokens is None:
            raise BadToken("the token is not the one that the panel printed")
        found = self._tokens.find(token)
        if found.role not in OPENS:
            raise BadToken(f"the panel is not for the role {found.role}")
        return found

    async def watch(self, token: str, who: Identity) -> None:
        """Return as soon as a token is not that of `who` any more."""
        while self._counts(token, who):  # noqa: ASYNC110 - files tell nobody that they change
            await asyncio.sleep(CHECK_SECONDS)

    def _counts(self, token: str, who: Identity) -> bool:
        """Say whether a token is still that of `who`, with the same role."""
        try:
            return self.find(token) == who
        except VirtmeshError:
            return False
