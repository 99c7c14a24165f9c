"""What every call passes first: who calls, and whether the table lets that role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from virtmesh.rpc.caller import CALLER
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.security.errors import NotAllowed
from virtmesh_common.security.roles import TABLE, Access, find_access

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtmesh.rpc.audit import Audit
    from virtmesh.rpc.caller import Caller
    from virtmesh.rpc.doors import Door, Metadata


class Ending(Protocol):
    """A call that can be ended."""

    def end(self, error: VirtmeshError) -> None:
        """End it by an error."""


class Gate:
    """The gate of all listeners with one door."""

    def __init__(self, door: Door, audit: Audit, table: Mapping[str, Access] = TABLE) -> None:
        self.audit = audit
        self._door = door
        self._table = table
        self._streams: dict[Ending, Caller] = {}
        """Calls that go on, for as long as their callers count."""

    def access(self, method: str) -> Access:
        """Return the row of a method."""
        return find_access(method, self._table)

    def knows(self, method: str) -> bool:
        """Say whether the table has a row for a method."""
        return method in self._table

    def admit(self, context: Any, metadata: Metadata) -> Caller:
        """Return who calls: CALLER says it from here on. Errors: NotAuthenticated and its kin."""
        caller = self._door.caller(context, metadata)
        CALLER.set(caller)
        return caller

    def begin(self, stream: Ending, caller: Caller) -> None:
        """Take note of a call that goes on."""
        self._streams[stream] = caller

    def finish(self, stream: Ending) -> None:
        """Forget a call: it has ended."""
        self._streams.pop(stream, None)

    def sweep(self) -> None:
        """End the streams of callers that count no more."""
        for stream, caller in list(self._streams.items()):
            try:
                self._door.check(caller.identity)
            except VirtmeshError as error:
                stream.end(error)


def check_role(access: Access, caller: Caller) -> None:
    """Refuse a call that the role does not have. Errors: NotAllowed."""
    role = caller.identity.role
    if role not in access.roles:
        wanted = ", ".join(sorted(access.roles))
        raise NotAllowed(
            f"{caller.identity.name} is {role}, and {access.method} is for: {wanted}. Ask the owner"
            " of the machine for another role",
            role=role,
            roles=wanted,
        )
