"""A supervisor in a process of its own, that begins to import before it knows what it is to run."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from typing import TYPE_CHECKING, Self

from virtmesh.local.module_process import module_argv

if TYPE_CHECKING:
    from typing import IO

    from virtmesh.local.order import Order

ERROR_BYTES = 64 << 10
"""Most bytes of errors that are looked at."""


CHOSEN, READY, FAILED, REFUSED = "chosen", "ready", "failed", "refused"
"""Kinds of reports: the run folder; the machine is ready; it does not start; nothing was begun."""


class EarlySupervisor:
    """A supervisor that waits for its order, in a `with`: without one it is ended."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the supervisor
        """What it writes to standard error before it has its log: it can't be imported."""
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            module_argv("virtmesh.local.detached"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self._is_ordered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """End it, unless it has its order."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._errors.close()
        if not self._is_ordered:
            self.process.kill()  # it has started nothing
            self.process.wait()

    def order(self, order: Order) -> IO[bytes]:
        """Let it start a machine; return its reports, a JSON object a line."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("a supervisor has pipes")
        self._is_ordered = True
        with contextlib.suppress(BrokenPipeError), self.process.stdin as pipe:
            pipe.write(order.encode())  # one that has ended reports nothing, which is seen
        return self.process.stdout

    def last_line(self) -> str:
        """Return the last line that it wrote before it had its log; empty when it wrote nothing."""
        self._errors.seek(0)
        lines = self._errors.read(ERROR_BYTES).decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")
