"""The benchmark suite from end to end, on real processes, as short as it can be."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.suite.disks import QSD
from tests.support import ROOT

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]
SECONDS = 350
"""A client in Rust may have to be built."""


def suite(out: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the suite."""
    images = out / "images"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.suite", "--out", out, "--images", images, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(out: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of a result by name."""
    result = json.loads((out / "result.json").read_text())
    return {row["name"]: row for row in result["rows"]}


def test_the_smallest_run_measures_both_sides(tmp_path: Path) -> None:
    """A row of the data path and one of the control path; what lacks something says what."""
    names = ["read-d1-1cpu", "cpu-read-d1-1cpu", "interrupt", "read-d32-null"]
    chosen = [word for name in names for word in ("--only", name)]

    with suite(tmp_path, "--rounds", "1", "--seconds", "0.05", *chosen) as process:
        said, errors = process.communicate(timeout=SECONDS)

    found = rows(tmp_path)
    assert process.returncode == 0, errors
    assert said == f"{tmp_path / 'result.md'}\n"
    assert sorted(found) == sorted(names)
    measured = {name for name, row in found.items() if row["ratio"]}
    assert {name for name, row in found.items() if row["not_measured"]} == set(found) - measured
    assert measured >= {"interrupt"} | ({"read-d1-1cpu"} if shutil.which(QSD) else set())
    for name in measured:
        assert found[name]["ratio"]["median"] > 0
        assert len(found[name]["ours"]) == len(found[name]["peer"]) == 1
    assert (tmp_path / "result.md").exists()
    assert list((tmp_path / "images").iterdir()) == []


def test_sigint_ends_it_with_what_it_has(tmp_path: Path) -> None:
    """Its processes are gone, and the result says that the run was interrupted."""
    with suite(tmp_path, "--rounds", "1000", "--seconds", "0.05", "--only", "interrupt") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "round 3 of" in line:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)

    result = json.loads((tmp_path / "result.json").read_text())
    assert process.returncode == 130
    assert result["interrupted"]
    assert len(result["rows"][0]["ours"]) >= 2
    assert working_in(tmp_path) == []


def working_in(folder: Path) -> list[int]:
    """Return the processes that have a file of a folder open, or that name it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            named = str(folder).encode() in (process / "cmdline").read_bytes()
            opened = any(
                str(one.readlink()).startswith(str(folder)) for one in (process / "fd").iterdir()
            )
        except OSError:
            continue
        if named or opened:
            found.append(int(process.name))
    return found


def test_a_stray_name_is_an_error() -> None:
    """Nothing is run."""
    command = [sys.executable, "-m", "tests.bench.suite", "--only", "nothing-like-it"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert "no row is called nothing-like-it" in done.stderr
