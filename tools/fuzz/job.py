"""One fuzz target at work: its command, its corpus, and what libFuzzer says about it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.fuzz import corpus
from tests.fuzz.target import load
from tools.fuzz.native import ROOT

if TYPE_CHECKING:
    from pathlib import Path

WORK = ROOT / "build" / "fuzz"
"""Everything that fuzzing writes."""
INPUT_SECONDS = 20
"""An input that takes longer is a crash."""
MEMORY_MIB = 2048
"""A process that takes more is a crash."""
END_SECONDS = 10.0
"""How long a process may take to end when it is asked to."""
LONGEST = 2048
"""Most bytes of an input of a native target."""
TOLD = re.compile(
    r"^#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/(\w+).* exec/s: (\d+)", re.MULTILINE
)
UNITS = re.compile(r"^stat::number_of_executed_units:\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Figures:
    """What libFuzzer said last."""

    executions: int = 0
    per_second: int = 0
    edges: int = 0
    features: int = 0
    inputs: int = 0
    size: str = "0b"


@dataclass
class Job:
    """A target. `program` is that of the native targets; None for one in Python."""

    name: str
    program: Path | None
    crashes: list[Path] = field(default_factory=list)
    figures: Figures = Figures()
    status: int = 0
    """How the process ended; 0 for well."""
    log: str = ""
    _process: subprocess.Popen[str] | None = None

    @property
    def corpus(self) -> Path:
        """Its corpus, which grows."""
        return WORK / "corpus" / self.name

    @property
    def found(self) -> Path:
        """Inputs that broke a promise."""
        return WORK / "crashes" / self.name

    def command(self, *options: str) -> list[str]:
        """Return the command line that runs it."""
        if self.program is not None:
            return [str(self.program), f"-max_len={LONGEST}", *options]
        return [sys.executable, "-m", "tests.fuzz.run", self.name, *options]

    def environment(self) -> dict[str, str]:
        """Return the environment that it runs in."""
        # A crash is one, and its trace is read by people: no leak is looked for when it ends.
        return os.environ | {
            "VIRTMESH_FUZZ_TARGET": self.name,
            "ASAN_OPTIONS": "detect_leaks=0:handle_abort=1",
            "RUST_BACKTRACE": "1",
        }

    def prepare(self) -> None:
        """Put what is committed, and the target's own seeds, into its corpus."""
        self.found.mkdir(parents=True, exist_ok=True)
        corpus.unpack(corpus.read(self.name), self.corpus)
        if self.program is None:
            corpus.unpack(load(self.name).seeds(), self.corpus)

    def run(self, seconds: float, seed: int = 0) -> None:
        """Fuzz for so long, unless it crashes before; `seed` 0 takes another one each time."""
        self.prepare()
        before = set(self.found.iterdir())
        self._process = subprocess.Popen(
            self.command(
                f"-max_total_time={max(1, round(seconds))}",
                f"-seed={seed}",
                f"-timeout={INPUT_SECONDS}",
                f"-rss_limit_mb={MEMORY_MIB}",
                f"-artifact_prefix={self.found}/",
                "-print_final_stats=1",
                str(self.corpus),
            ),
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for this program, which ends the others.
        )
        try:
            self.log, _ = self._process.communicate(timeout=seconds + 4 * INPUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.end()
            self.log, _ = self._process.communicate()
        self.status = self._process.returncode
        self.crashes = sorted(set(self.found.iterdir()) - before)
        self.figures = read_figures(self.log)
        (WORK / f"{self.name}.log").write_text(self.log, encoding="utf-8")

    def end(self) -> None:
        """End it early: its figures are those so far."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        for number in (signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
                return

    def reproduce(self, path: Path) -> int:
        """Run one input; return the status. It prints what happens."""
        command = self.command(f"-timeout={INPUT_SECONDS}", str(path))
        return subprocess.run(command, cwd=ROOT, env=self.environment(), check=False).returncode

    def minimize(self, most: int) -> int:
        """Commit the smallest part of its corpus that covers the same; return its inputs.

        Of a target in Python the smallest inputs: libFuzzer would start atheris as a program. At
        most `most` bytes of text. Errors: CalledProcessError.
        """
        self.prepare()
        if self.program is None:
            found = {one.read_bytes() for one in self.corpus.iterdir()}
            return corpus.write(self.name, found - set(load(self.name).seeds()), most=most)
        smallest = WORK / "smallest" / self.name
        smallest.mkdir(parents=True, exist_ok=True)
        for one in smallest.iterdir():
            one.unlink()
        command = self.command("-merge=1", str(smallest), str(self.corpus))
        subprocess.run(
            command, cwd=ROOT, env=self.environment(), check=True, stderr=subprocess.DEVNULL
        )
        inputs = [one.read_bytes() for one in smallest.iterdir()]
        return corpus.write(self.name, inputs, most=most)


def read_figures(log: str) -> Figures:
    """Read what libFuzzer told last."""
    told = TOLD.findall(log)
    if not told:
        return Figures()
    executions, edges, features, inputs, size, per_second = told[-1]
    units = UNITS.findall(log)
    return Figures(
        executions=int(units[-1] if units else executions),
        per_second=int(per_second),
        edges=int(edges),
        features=int(features),
        inputs=int(inputs),
        size=size,
    )
