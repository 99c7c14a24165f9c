"""Until a session begins: version, security, who may come in (RFC 6143, 7.1 to 7.3)."""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING

from virtmesh_client.vnc.errors import ViewerError
from virtmesh_client.vnc.password import CHALLENGE
from virtmesh_client.vnc.spec import VERSION, Security

if TYPE_CHECKING:
    from virtmesh_client.vnc.connection import Connection
    from virtmesh_client.vnc.password import PasswordGate

VERSION_LINE = re.compile(rb"RFB ([0-9]{3})\.([0-9]{3})\n")
OLD, MIDDLE, NEW = 3, 7, 8
"""Minor numbers of the three versions."""
OK, FAILED = 0, 1


async def admit(connection: Connection, gate: PasswordGate | None, refusal: str = "") -> None:
    """Shake hands up to ClientInit. `refusal` is why nobody is let in now.

    The shared flag is read and not heeded: nobody can shut others out. Errors: ViewerError.
    """
    minor = await agree_on_version(connection)
    if refusal:
        await refuse(connection, minor, refusal)
    await choose_security(connection, minor, Security.VNC_AUTHENTICATION if gate else Security.NONE)
    if gate is not None:
        challenge = os.urandom(CHALLENGE)
        await connection.write([challenge])
        answer = await connection.read(CHALLENGE)
        connection.is_judged = True
        reason = await gate.refusal(challenge, answer)
        connection.is_judged = False
        if reason:
            told = pack_reason(reason) if minor >= NEW else b""
            await connection.write([struct.pack(">I", FAILED) + told])
            raise ViewerError(reason)
    if gate is not None or minor >= NEW:
        await connection.write([struct.pack(">I", OK)])
    await connection.read(1)


async def agree_on_version(connection: Connection) -> int:
    """Return the minor number of the version to speak: 3, 7 or 8 (7.1.1). Errors: ViewerError."""
    await connection.write([VERSION])
    line = await connection.read(len(VERSION))
    match = VERSION_LINE.fullmatch(line)
    if match is None:
        raise ViewerError(f"it does not speak RFB: it began with {line!r}")
    version = int(match[1]), int(match[2])
    if version < (3, OLD):
        raise ViewerError(f"its version {version[0]}.{version[1]} is too old: 3.3 is needed")
    if version >= (3, NEW):
        return NEW
    return MIDDLE if version == (3, MIDDLE) else OLD


async def refuse(connection: Connection, minor: int, reason: str) -> None:
    """Tell why nobody is let in. Errors: ViewerError, always."""
    head = struct.pack(">I", 0) if minor == OLD else bytes([0])
    await connection.write([head + pack_reason(reason)])
    raise ViewerError(reason)


async def choose_security(connection: Connection, minor: int, wanted: Security) -> None:
    """Offer one security type (7.1.2); up to 3.3 the server decides. Errors: ViewerError."""
    if minor == OLD:
        await connection.write([struct.pack(">I", wanted)])
        return
    await connection.write([bytes([1, wanted])])
    (chosen,) = await connection.read(1)
    if chosen != wanted:
        raise ViewerError(f"it chose security type {chosen}, and {wanted} is offered")


def pack_reason(reason: str) -> bytes:
    """Return a text with its length."""
    text = reason.encode()
    return struct.pack(">I", len(text)) + text
