"""The monitor protocol of QEMU (QMP): one JSON object a line."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any, Self

from virtmesh_common.errors import GuestError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

SECONDS = 5.0
"""How long QEMU may take to answer."""
LINE_MAX = 1 << 20
"""Longest line that is read, in bytes."""


class Qmp:
    """A connection to QEMU; use it in a `with`. Errors: GuestError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(SECONDS)
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        try:
            self._socket.connect(str(self._path))
            self._read()  # The greeting.
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise self._failure(error) from error
            raise
        self.execute("qmp_capabilities")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._lines.close()
        self._socket.close()

    def execute(self, command: str, **arguments: object) -> None:
        """Execute a command."""
        message = {"execute": command, "arguments": arguments}
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
            while True:
                answer = self._read()
                if "return" in answer:
                    return
                if "error" in answer:
                    raise GuestError(f"QEMU refuses {command}: {answer['error'].get('desc', '')}")
        except OSError as error:
            raise self._failure(error) from error

    def wait_for_event(self, name: str) -> None:
        """Wait until QEMU tells of an event."""
        try:
            while self._read().get("event") != name:
                pass
        except OSError as error:
            raise self._failure(error) from error

    def _read(self) -> dict[str, Any]:
        """Return the next message. Errors: GuestError; OSError."""
        line = self._lines.readline(LINE_MAX)
        if not line:
            raise GuestError(f"QEMU has closed {self._path}")
        try:
            message = json.loads(line)
        except ValueError as error:
            raise GuestError(f"QEMU says what is no JSON: {error}") from error
        if not isinstance(message, dict):
            raise GuestError("QEMU says what is no message of its protocol")
        return message

    def _failure(self, error: OSError) -> GuestError:
        return GuestError(f"QEMU does not answer at {self._path}: {error}")
