"""Run folders, the state in them, and how the client finds a machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from virtmesh.local import run_folder
from virtmesh_client import find_address
from virtmesh_client.local import rundir
from virtmesh_common.errors import ServiceUnavailable


def make_state(name: str, pid: int | None = None) -> rundir.MachineState:
    """Save and return the state of a machine whose supervisor is `pid` (this process)."""
    folder = rundir.default(name)
    run_folder.prepare(folder)
    pid = os.getpid() if pid is None else pid
    state = rundir.MachineState(
        name=name,
        run_dir=str(folder),
        address=f"unix:{folder}/kernel.sock",
        status="ready",
        supervisor=rundir.ProcessState(
            name="supervisor", kind="supervisor", pid=pid, start_ticks=rundir.start_ticks(pid) or 0
        ),
    )
    run_folder.save(state)
    return state


def test_a_state_is_read_as_it_was_saved() -> None:
    """Through JSON and back."""
    state = make_state("demo")
    assert rundir.load(Path(state.run_dir)) == state


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', "null", '{"supervisor": 3}'])
def test_a_state_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    """A damaged file does not stop anyone from starting a machine."""
    (tmp_path / rundir.STATE).write_text(text)
    assert rundir.load(tmp_path) is None


def test_a_reused_pid_is_another_process() -> None:
    """A pid alone is never trusted: the start time must agree."""
    mine = make_state("demo").supervisor
    assert mine.alive
    assert not replace(mine, start_ticks=mine.start_ticks + 1).alive


def test_a_process_that_ended_is_not_alive_even_as_a_zombie() -> None:
    """A zombie has a pid and a start time, but runs no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert rundir.start_ticks(process.pid) is None


def test_an_address_given_is_the_one_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the environment, before what runs here."""
    make_state("demo")
    monkeypatch.setenv("VIRTMESH_ADDRESS", "other:1")
    assert find_address("here:2") == "here:2"
    assert find_address() == "other:1"


def test_the_only_machine_that_runs_is_the_one_used() -> None:
    """Without an address."""
    state = make_state("demo")
    assert find_address() == state.address


def test_a_machine_that_stopped_is_not_found() -> None:
    """State that a killed supervisor left does not count."""
    state = make_state("demo")
    gone = replace(state.supervisor, start_ticks=1)
    run_folder.save(replace(state, supervisor=gone))
    with pytest.raises(ServiceUnavailable, match="no machine runs on this host: start one"):
        find_address()


def test_of_several_machines_one_must_be_chosen() -> None:
    """The error names them, and how to choose."""
    make_state("one")
    make_state("two")
    with pytest.raises(ServiceUnavailable, match=r"one at unix:.*two at unix:.*--address"):
        find_address()


def test_the_run_folder_of_the_environment_is_the_only_one_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """$VIRTMESH_RUN_DIR is the folder of one machine."""
    make_state("one")
    chosen = make_state("two")
    monkeypatch.setenv(rundir.VARIABLE, chosen.run_dir)
    assert find_address() == chosen.address


def test_the_state_file_has_a_version() -> None:
    """For readers of later versions."""
    state = make_state("demo")
    assert json.loads((Path(state.run_dir) / rundir.STATE).read_text())["version"] == 1


def test_a_missing_runtime_folder_is_made_and_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The machine that runs in it is found again: others may not enter any folder that was made."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "new" / "deep"))

    state = make_state("demo")

    assert rundir.running() == [state]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_process_may_have_any_name() -> None:
    """Also one that is no text."""
    rename = "printf '\\377) (' > /proc/$$/comm; echo; read line"
    with subprocess.Popen(
        ["sh", "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()

        assert isinstance(rundir.start_ticks(process.pid), int)
        process.kill()
