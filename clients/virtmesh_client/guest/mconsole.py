"""The management console of user-mode Linux: one datagram is a command, one is its answer.

Each message is a header of three words and text (arch/um/drivers/mconsole.h of Linux).
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from virtmesh_common.errors import GuestError

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = 0xCAFEBABE
VERSION = 2
REQUEST = struct.Struct("=III512s")
"""Magic number, version, length of the command, the command."""
REPLY = struct.Struct("=III")
"""Error number, whether more replies follow, length of the text, which comes behind that."""
TEXT_BYTES = 512
"""Most text of one message."""
SECONDS = 5.0
"""How long the guest may take to answer."""


def send_command(path: Path, command: str) -> str:
    """Send a command, such as "cad"; return the answer. Errors: GuestError."""
    text = command.encode()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mine:
            mine.bind("")  # Linux chooses an abstract address, for the answer
            mine.settimeout(SECONDS)
            mine.sendto(REQUEST.pack(MAGIC, VERSION, len(text), text), str(path))
            said = mine.recv(REPLY.size + TEXT_BYTES)
            error, _more, _length = REPLY.unpack_from(said)
    except (OSError, struct.error) as failure:
        raise GuestError(f"user-mode Linux does not answer at {path}: {failure}") from failure
    answer = said[REPLY.size :].decode(errors="replace").strip("\0\n ")
    if error:
        raise GuestError(f"user-mode Linux refuses {command!r}: {answer}")
    return answer
