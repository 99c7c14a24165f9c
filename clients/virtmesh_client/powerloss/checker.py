"""Running the checker of a state: a command that exits with 0 if all is well."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.blk.errors import CheckerFailed

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

PLACEHOLDER = "{}"
OUTPUT_BYTES = 4096
"""What is kept of the end of the output."""
LOOK_SECONDS = 0.1
"""How often it is looked whether the checker is to be ended."""
NOT_RUN = (126, 127)
"""What shells exit with if they can't run a command."""


@dataclass(frozen=True)
class Verdict:
    """How a checker ended."""

    status: int | None
    """Its exit status, negative for a signal; None if it was ended at its deadline."""
    output: str
    """The end of what it wrote."""


class Checker:
    """A command that checks one image."""

    def __init__(self, command: Sequence[str], deadline: float, stop: threading.Event) -> None:
        self._command = tuple(command)
        self._deadline = deadline
        self._stop = stop
        if shutil.which(self._command[0]) is None:
            raise CheckerFailed(
                f"{self._command[0]}: no such command: install it, or give its path after --"
            )

    def run(self, image: str, facts: Mapping[str, str]) -> Verdict | None:
        """Check an image; None if `stop` was set. Errors: CheckerFailed if it can't be run."""
        command = [one.replace(PLACEHOLDER, image) for one in self._command]
        environment = {**os.environ, "VIRTMESH_IMAGE": image, **facts}
        try:
            process = subprocess.Popen(  # noqa: S603 - it is what the caller asks for
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise CheckerFailed(f"{command[0]}: the checker can't be run: {error}") from error
        with process:
            try:
                output, is_in_time = self._watch(process)
            finally:
                # Its children too. It is not reaped yet, so the number is still its own.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        text = output.decode(errors="replace")
        if self._stop.is_set():
            return None
        if status in NOT_RUN:
            raise CheckerFailed(
                f"the checker exits with {status}, so a command was not found: {text.strip()}"
            )
        return Verdict(status if is_in_time else None, text)

    def _watch(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bool]:
        """Read until it has ended, or has to; returns the end of the output, and if it has."""
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        end = time.monotonic() + self._deadline
        pipe, output = process.stdout.fileno(), b""
        os.set_blocking(pipe, False)
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        is_open = True
        while not self._stop.is_set():
            left = end - time.monotonic()
            if left <= 0:
                return output, False
            wait_ms = max(min(left, LOOK_SECONDS) * 1e3, 1)
            if is_open and poll.poll(wait_ms):
                data = os.read(pipe, 1 << 16)
                output = (output + data)[-OUTPUT_BYTES:]
                if data:
                    continue
                is_open = False
                poll.unregister(pipe)
            # Its children may keep the pipe open when it has ended.
            if _has_ended(process.pid):
                break
            if not is_open:
                time.sleep(min(left, 0.001))
        return output, True


def _has_ended(pid: int) -> bool:
    """Say whether a child has ended, and leave it to be reaped."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, pid, options) is not None
