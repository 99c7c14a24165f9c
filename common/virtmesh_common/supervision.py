"""What the supervisor of a machine is asked through the socket in its run folder.

JSON, a line each way, and one request in a connection: {"restart": NAME} is answered by
{"name": NAME, "pid": PID, "held": WHY} when the process runs anew, or by {"error": {...}}. Only the
user of the supervisor, and root, are answered. Both ends are hostile to each other.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from virtmesh_common.errors import (
    BY_REASON,
    BadRequest,
    NotSupervised,
    ServiceUnavailable,
    VirtmeshError,
)

CONTROL = "control.sock"
"""Name of the socket in the run folder."""
REQUEST_BYTES_MAX = 4096
"""Most bytes of a request, with its line feed."""
ANSWER_BYTES_MAX = 64 << 10
"""Most bytes of an answer, with its line feed."""
ANSWER_SECONDS = 30.0
"""How long an answer may take: longer than a process may take to stop, and to be killed."""
REMEDY = "start the machine with `virtmesh up`, or restart the service with what started it"


@dataclass(frozen=True)
class Restarted:
    """A process that runs anew."""

    name: str
    pid: int
    held: str = ""
    """Why it had been held before; empty if it had not."""


def encode_request(name: str) -> bytes:
    """Return a request as a line. Errors: BadRequest."""
    line = json.dumps({"restart": name}).encode() + b"\n"
    if len(line) > REQUEST_BYTES_MAX:
        raise BadRequest(f"a name of {len(name)} characters is no device's")
    return line


def decode_request(line: bytes) -> str:
    """Return the name in a request. Errors: BadRequest."""
    content = _parse(line)
    name = content.get("restart")
    if set(content) != {"restart"} or not isinstance(name, str):
        raise BadRequest('a request is one line of JSON: {"restart": NAME}')
    return name


def encode_answer(answer: Restarted | VirtmeshError) -> bytes:
    """Return an answer as a line."""
    if isinstance(answer, VirtmeshError):
        return _spell_error(answer)
    return json.dumps(asdict(answer)).encode() + b"\n"


def decode_answer(line: bytes) -> Restarted:
    """Return an answer. Errors: that of the supervisor; ServiceUnavailable when it is none."""
    try:
        content = _parse(line)
    except BadRequest:
        content = {}
    match content:
        case {"name": str(name), "pid": int(pid), "held": str(held)}:
            return Restarted(name, pid, held)
        case {"error": {"reason": str(reason), "message": str(message)}}:
            raise BY_REASON.get(reason, VirtmeshError)(message)
    raise ServiceUnavailable("the supervisor has ended, or gave no answer that can be read")


def nobody(detail: str) -> NotSupervised:
    """Return the error for a socket that nobody serves."""
    return NotSupervised(f"nobody here can restart it ({detail}): {REMEDY}")


def _spell_error(error: VirtmeshError) -> bytes:
    """Return an error as a line."""
    content = {"reason": error.reason, "message": error.message[: ANSWER_BYTES_MAX // 16]}
    return json.dumps({"error": content}).encode() + b"\n"


def _parse(line: bytes) -> dict[str, object]:
    """Parse a line. Errors: BadRequest."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise BadRequest("a line is no JSON object")
    return content
