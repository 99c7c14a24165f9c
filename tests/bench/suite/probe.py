"""A pinned process that measures on demand: a line in, a line of JSON out."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.suite.experiment import NotMeasured, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE_S = 60.0
"""Longest wait for an answer beyond the time that a measurement takes."""
PATIENCE_TO_END_S = 10.0
TAIL_BYTES = 500
ROOT = Path(__file__).resolve().parents[3]


def pinned(cpus: int | Sequence[int], *command: object) -> list[str]:
    """Return the command line that runs a command on some CPUs only."""
    listed = [cpus] if isinstance(cpus, int) else cpus
    return ["taskset", "--cpu-list", ",".join(map(str, listed)), *map(str, command)]


@contextlib.contextmanager
def running(command: Sequence[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in the background, its standard error in a file; it is stopped after the body.

    It has a group of its own: Ctrl-C of a terminal reaches the suite alone, which stops it.
    """
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, stderr=errors, process_group=0, cwd=ROOT, **{"stdout": errors, **options}
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_TO_END_S)
            # Whatever it has started and left behind, and itself if it does not end.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


class Probe:
    """A process that answers lines."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self._rest = b""

    def send(self, line: str) -> None:
        """Send a line. Errors: NotMeasured if it has ended."""
        try:
            self._process.stdin.write(line.encode() + b"\n")  # type: ignore[union-attr]
        except BrokenPipeError:
            raise NotMeasured(self._why("has ended")) from None

    def answer(self, seconds: float = 0.0) -> dict[str, Any]:
        """Wait for an answer. Errors: NotMeasured if it ends, takes too long, or says no JSON."""
        line = self._line(seconds)
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise NotMeasured(self._why(f"said {line[:60]!r}")) from None
        return answer

    def _line(self, seconds: float) -> str:
        """Return the next line. Errors: NotMeasured if it ends or takes too long."""
        end = time.monotonic() + seconds + PATIENCE_S
        stdout = self._process.stdout
        assert stdout is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([stdout], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise NotMeasured(self._why("gave no answer in time"))
            data = os.read(stdout.fileno(), 1 << 16)
            if not data:
                raise NotMeasured(self._why("has ended"))
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def sample(self, line: str = "", seconds: float = 0.0) -> Sample:
        """Send a line; return the answer, a flat object of numbers, as a sample."""
        self.send(line)
        return Sample({name: float(value) for name, value in self.answer(seconds).items()})

    def _why(self, what: str) -> str:
        """Say what happened, with the last line of its standard error."""
        said = self._log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
        last = said.splitlines()[-1] if said else "it said nothing"
        return f"{self._log.stem} {what}: {last}"


@contextlib.contextmanager
def probing(command: Sequence[str], log: Path, **options: Any) -> Iterator[Probe]:
    """Run a probe; it is stopped after the body."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with running(command, log, **pipes, **options) as process:
        try:
            yield Probe(process, log)
        finally:
            # The end of its input ends a probe, and what it has started.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()  # type: ignore[union-attr]
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_TO_END_S)


def python(module: str, *arguments: object) -> list[str]:
    """Return the command line of a Python module."""
    return [sys.executable, "-m", module, *map(str, arguments)]
