"""A process in its sandbox, on a kernel that has all of it, and on one that lacks some."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from virtmesh_common.security.authority import Authority

PROGRAM = """
import json, os, sys, threading
import virtmesh_native as native
from virtmesh.sandbox import Access, Needs, Sandbox, sandbox_metrics

missing = sys.argv[1].split()
if missing:
    calls = [{"syscall": name} for name in missing]
    rules = {"mismatch_action": "allow", "match_action": {"errno": 38}, "filter": calls}
    native.filter_system_calls(json.dumps({"missing": rules}), ["missing"])
if sys.argv[2] == "thread":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
sandbox = Sandbox(Needs(), is_on=sys.argv[2] != "off")
sandbox.confine()
sandbox.seal()
values = {
    sample.labels.get("part", "version"): sample.value
    for metric in sandbox_metrics()
    for sample in metric.samples
}
print(json.dumps(values), flush=True)
os._exit(0)
"""
LANDLOCK = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"


@dataclass
class Outcome:
    """What a process says: its metrics, and its log."""

    values: dict[str, float]
    log: str


def run(tmp_path: Path, missing: str = "", how: str = "on") -> Outcome:
    """Run a process whose kernel lacks some system calls."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, missing, how],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *log, values = done.stdout.splitlines()
    return Outcome(json.loads(values), "\n".join([*log, done.stderr]))


@pytest.fixture
def whole(tmp_path: Path) -> Outcome:
    """Run a process in a whole sandbox; skip where the kernel has none."""
    outcome = run(tmp_path)
    if "not whole" in outcome.log:
        pytest.skip(outcome.log)
    return outcome


def test_a_whole_sandbox_says_nothing(whole: Outcome) -> None:
    """And its metrics say that it is there."""
    version = whole.values.pop("version")

    assert version >= 6
    assert whole.values == {"process": 1.0, "landlock": 1.0, "seccomp": 1.0}
    assert whole.log == ""


@pytest.mark.parametrize(("missing", "part"), [(LANDLOCK, "landlock"), ("seccomp", "seccomp")])
def test_what_the_kernel_lacks_is_said_once(
    whole: Outcome, tmp_path: Path, missing: str, part: str
) -> None:
    """In one line of the log and in the metric; the process goes on with the rest."""
    outcome = run(tmp_path, missing)

    assert outcome.log.count("the sandbox is not whole") == 1
    assert f"{part}: " in outcome.log
    changed = {name for name in whole.values if outcome.values[name] != whole.values[name]}
    assert changed - {"version"} == {part}
    assert outcome.values[part] == 0


def test_threads_that_were_there_before_are_told(whole: Outcome, tmp_path: Path) -> None:
    """Landlock does not hold for them."""
    outcome = run(tmp_path, how="thread")

    assert "1 threads were there before it" in outcome.log
    assert outcome.values == whole.values | {"landlock": 0.0}


def test_no_sandbox_is_told(tmp_path: Path) -> None:
    """The log of a service says that it was started so."""
    outcome = run(tmp_path, how="off")

    assert "no sandbox" in outcome.log
    assert set(outcome.values.values()) == {0.0}


READS = """
import os, sys
from pathlib import Path
from virtmesh.kinds.lock_options import needs_of_locks
from virtmesh.rpc.locks import Locks
from virtmesh.sandbox import Sandbox

folder = Path(sys.argv[1])
Sandbox(needs_of_locks(Locks(folder))).confine()
for path in (folder / "server.key", folder.with_name("security.authority") / "ca.key"):
    try:
        print("read", len(path.read_bytes()) > 0)
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.mark.usefixtures("whole")
def test_a_service_with_certificates_does_not_read_the_key_that_issues(tmp_path: Path) -> None:
    """It reads all of its security folder, and the key is not there."""
    Authority.create(tmp_path / "security").close()
    arguments = [sys.executable, "-P", "-c", READS, str(tmp_path / "security")]
    done = subprocess.run(
        arguments, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.splitlines() == ["read True", "PermissionError"]
