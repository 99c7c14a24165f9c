"""How one call gets through the gate, and what the audit says of it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from virtmesh.rpc.audit import BEGUN, UNKNOWN
from virtmesh.rpc.caller import TOUCH, Stranger
from virtmesh.rpc.gate import check_role
from virtmesh_common.channel import DEVICE_KEY
from virtmesh_common.errors import NotOffered, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import Descriptor

    from virtmesh.rpc.caller import Caller
    from virtmesh.rpc.gate import Ending, Gate
    from virtmesh_common.security.roles import Access


class Entry:
    """One call at the gate."""

    __slots__ = ("_access", "_caller", "_devices", "_gate", "_metadata", "_refused", "_streams")

    def __init__(self, gate: Gate, access: Access, metadata: Iterable[tuple[str, Any]]) -> None:
        self._gate = gate
        self._access = access
        self._metadata = metadata
        self._caller: Caller | Stranger = Stranger()
        self._devices: dict[str, None] = {}
        """What was touched, as the audit names it: no more than there are devices, and one."""
        self._refused = ""
        """Why it was refused, for the audit; empty when it was not."""
        self._streams = False

    def begin(self, call: Ending, context: Any, *, streams: bool) -> None:
        """Let the caller in. Errors: NotAuthenticated and its kin; NotAllowed."""
        try:
            self._caller = caller = self._gate.admit(context, self._metadata)
            check_role(self._access, caller)
        except VirtmeshError as error:
            self._refused = error.reason
            if not self.is_in:
                told = error.metadata
                name, serial = told.get("identity", ""), told.get("serial", "")
                self._caller = Stranger(context.peer(), name, serial)
            raise
        if streams:
            self._gate.begin(call, caller)
        if self._access.changes:
            self._streams = streams
            TOUCH.set(self.touch)
            if streams and (known := self._gate.audit.name_of(self._named())):
                self.touch(known)

    @property
    def is_in(self) -> bool:
        """Say whether the caller has an identity, whatever it may call."""
        return not isinstance(self._caller, Stranger)

    def see(self, message: Any) -> None:
        """Look for the device in a message of the client."""
        if self._access.changes and (device := device_in(message)):
            self.touch(device)

    def touch(self, device: str) -> None:
        """Take down a device that the call is about. A stream is in the audit from then on."""
        name = self._gate.audit.name_of(device)
        if name not in self._devices:
            self._devices[name] = None
            if self._streams:
                self._note(name, BEGUN)

    def finish(self, call: Ending, code: str) -> None:
        """Take down how the call ended."""
        self._gate.finish(call)
        if self._access.changes or self._refused:
            # A request that names a device is not sent on to another.
            for device in self._devices or (self._named(),):
                self._note(device, code)

    def _named(self) -> str:
        """Return the device that a call is about whose messages name none."""
        named = next((value for key, value in self._metadata if key == DEVICE_KEY), "")
        return str(named) or self._access.touches

    def _note(self, device: str, outcome: str) -> None:
        """Write to the audit."""
        method = self._access.method
        is_none = self._refused or outcome == NotOffered.code.name
        if is_none and not self._gate.knows(method):
            method = UNKNOWN  # the log takes no names that a caller makes up
        self._gate.audit.note(self._caller, method, device, outcome, self._refused)


def device_in(message: Any) -> str:
    """Return the device that a message names, in itself or in its header; empty for none."""
    if not isinstance(message, Message):  # the end of a stream; the bytes of a forwarded call
        return ""
    own, in_header = places_of(message.DESCRIPTOR)
    device = message.device if own else ""  # type: ignore[attr-defined]
    return device or (message.header.device if in_header else "")  # type: ignore[attr-defined]


@cache
def places_of(kind: Descriptor) -> tuple[bool, bool]:
    """Say whether messages of a kind have a device, and whether their header has one."""
    fields = kind.fields_by_name
    header = fields["header"].message_type if "header" in fields else None
    return is_text(fields.get("device")), header is not None and is_text(
        header.fields_by_name.get("device")
    )


def is_text(field: Any) -> bool:
    """Say whether there is a field, and it is one text."""
    return field is not None and field.type == field.TYPE_STRING and not field.is_repeated
