"""A supervisor, or a template, that begins to import before it is known what it is to run.

Both take longer to import than a machine takes to start. The command that starts one checks a
machine meanwhile, which needs other modules, on another processor.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from virtmesh.local.module_process import module_argv

if TYPE_CHECKING:
    from typing import IO


SUPERVISOR_LOG = "supervisor.log"
ERROR_BYTES = 64 << 10
"""Most bytes of errors that are looked at."""


@dataclass(frozen=True)
class Place:
    """How a machine is called, where it runs, and how long it may take; as far as it is said."""

    name: str | None
    run_dir: Path | None
    wait: float


@dataclass(frozen=True)
class Order:
    """What a supervisor is to run."""

    file: str
    """The machine file."""
    run_dir: str
    name: str
    wait: float
    """Seconds until the machine must be ready."""

    @property
    def log(self) -> Path:
        """Where the standard error of the supervisor goes from then on."""
        return Path(self.run_dir) / SUPERVISOR_LOG

    def encode(self) -> bytes:
        """Return it as a line. Names of files may be any bytes."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Self | None:
        """Return the order in a line; None if there is none: the command has found a fault."""
        return cls(**json.loads(line)) if line.endswith(b"\n") else None


class EarlySupervisor:
    """A supervisor that waits for its order, in a `with`: without one it is ended."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the supervisor
        """What it writes to standard error before it has its log: it can't be imported."""
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            module_argv("virtmesh.local.supervise"),
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
