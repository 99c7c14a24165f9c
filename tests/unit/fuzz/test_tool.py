"""`make fuzz`: figures out of libFuzzer's words, crashes that can be run again, Ctrl-C."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.support import ROOT
from tools.fuzz import __main__ as tool
from tools.fuzz import job as jobs
from tools.fuzz import native
from tools.fuzz.job import Figures, Job, read_figures

LOG = """\
#2\tINITED cov: 16 ft: 16 corp: 1/1b exec/s: 0 rss: 32Mb
#5324\tNEW    cov: 21 ft: 22 corp: 4/17b lim: 53 exec/s: 100 rss: 39Mb L: 4/8 MS: 5
#6000\tDONE   cov: 22 ft: 24 corp: 5/25b lim: 53 exec/s: 3000 rss: 39Mb
stat::number_of_executed_units: 6001
"""
CRASHES = """\
#!/bin/bash
# Ends as a target that has found something: a file, and words.
for option in "$@"; do
    case $option in -artifact_prefix=*) echo found >"${option#*=}crash-1" ;; esac
done
echo '#7 NEW cov: 3 ft: 4 corp: 1/1b lim: 4 exec/s: 9 rss: 1Mb'
echo 'it broke a promise'
exit 77
"""
SLEEPS = """\
#!/bin/bash
trap 'echo "#9 DONE cov: 3 ft: 4 corp: 1/1b lim: 4 exec/s: 9 rss: 1Mb"; exit 0' INT
echo ready >"$READY"
while :; do sleep 0.1; done
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have everything written to a folder of the test."""
    monkeypatch.setattr(jobs, "WORK", tmp_path / "work")
    monkeypatch.setattr(corpus, "FOLDER", tmp_path / "corpora")
    monkeypatch.setattr(tool, "nice", int)
    monkeypatch.setattr(native, "ROOT", tmp_path)
    return tmp_path


def program(folder: Path, text: str) -> Path:
    """Write a program."""
    path = folder / "program"
    path.write_text(text, encoding="ascii")
    path.chmod(0o755)
    return path


def test_figures_are_those_told_last() -> None:
    """With the exact number of executions."""
    assert read_figures(LOG) == Figures(6001, 3000, 22, 24, 5, "25b")


def test_silence_has_no_figures() -> None:
    """A target that does not start."""
    assert read_figures("") == Figures()


def test_a_crash_is_told_with_how_to_run_it_again(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the exit code says so."""
    job = Job("planted", program(work, CRASHES))

    code = tool.fuzz([job], 1)

    told = capsys.readouterr().out
    assert code == 1
    assert "it broke a promise" in told
    assert "make fuzz TARGET=planted INPUT=work/crashes/planted/crash-1" in told
    assert told.splitlines()[1].split() == ["planted", "7", "9", "3", "4", "1", "(1b)", "1"]


def test_a_target_that_is_ended_early_has_its_figures(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C does."""
    ready = work / "ready"
    os.mkfifo(ready)
    monkeypatch.setenv("READY", str(ready))
    job = Job("planted", program(work, SLEEPS))
    running = threading.Thread(target=job.run, args=(60,))
    running.start()
    ready.read_text(encoding="ascii")

    job.end()

    running.join(30)
    assert not running.is_alive()
    assert (job.status, job.figures.executions) == (0, 9)


@pytest.mark.skipif(not tool.has_atheris(), reason="atheris has no wheel for this Python")
def test_one_input_is_run_by_the_real_engine(tmp_path: Path) -> None:
    """As a crash is run again."""
    one = tmp_path / "input"
    one.write_bytes(b"\x05hello")

    done = subprocess.run(
        [sys.executable, "-m", "tools.fuzz", "--target", "telnet", "--input", str(one)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    assert "Executed" in done.stderr
