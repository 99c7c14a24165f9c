"""How one call gets through the gate, and what the audit says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtmesh.rpc.audit import BEGUN, UNKNOWN
from virtmesh.rpc.gate import check_role
from virtmesh_common.channel import DEVICE_KEY
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh.rpc.caller import Caller
    from virtmesh.rpc.gate import Ending, Gate
    from virtmesh_common.security.roles import Access


class Entry:
    """One call at the gate."""

    __slots__ = ("_access", "_caller", "_device", "_gate", "_metadata", "_refused")

    def __init__(self, gate: Gate, access: Access, metadata: Iterable[tuple[str, Any]]) -> None:
        self._gate = gate
        self._access = access
        self._metadata = metadata
        self._caller: Caller | None = None
        self._device: str | None = None
        """The device that the first request names; None before there is one."""
        self._refused = ""
        """Why it was refused, for the audit; empty when it was not."""

    def begin(self, call: Ending, context: Any, *, streams: bool) -> None:
        """Let the caller in. Errors: NotAuthenticated and its kin; NotAllowed."""
        try:
            self._caller = self._gate.admit(context, self._metadata)
            check_role(self._access, self._caller)
        except VirtmeshError as error:
            self._refused = error.reason
            raise
        if streams:
            self._gate.begin(call, self._caller)
            if self._access.changes:
                self._note(BEGUN)

    def see(self, message: Any) -> None:
        """Look for the device in the first request."""
        if self._device is None:
            self._device = device_in(message) if self._access.changes else ""

    def finish(self, call: Ending, code: str) -> None:
        """Take down how the call ended."""
        self._gate.finish(call)
        if self._access.changes or self._refused:
            self._note(code)

    def _note(self, outcome: str) -> None:
        """Write to the audit."""
        named = next((value for key, value in self._metadata if key == DEVICE_KEY), "")
        method = self._access.method
        if self._refused and not self._gate.knows(method):
            method = UNKNOWN  # the log takes no names that a caller makes up
        self._gate.audit.note(
            self._caller,
            method,
            self._device or str(named),  # a request that names one is not sent on to another
            outcome,
            self._refused,
        )


def device_in(request: Any) -> str:
    """Return the device that a request names, in itself or in its header; empty for none."""
    device = getattr(request, "device", None) or getattr(
        getattr(request, "header", None), "device", None
    )
    return device if isinstance(device, str) else ""
