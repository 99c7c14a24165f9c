"""A supervisor that imports before it is known what it is to run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from virtmesh.local.early import CHOSEN, REFUSED, EarlySupervisor
from virtmesh.local.module_process import module_argv
from virtmesh.local.order import Order, Quick
from virtmesh.local.run_folder import LOCK
from virtmesh_client.local.rundir import SUPERVISOR_LOG

WATCH = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            print(os.environ.get("GRPC_EXPERIMENTS"))

sys.meta_path.insert(0, Watch())
import {module}
print(*sorted(sys.modules.keys() & {{"rich", "twisted"}}))
"""
"""Prints what gRPC finds in the environment when it is imported, and which of two are imported."""


def test_one_without_an_order_is_ended() -> None:
    """Whatever it was importing: the command has found a fault, or was interrupted."""
    with EarlySupervisor() as early:
        assert early.process.poll() is None
    assert early.process.returncode is not None


def test_one_whose_command_has_ended_ends_without_a_word() -> None:
    """It has started nothing, so there is nothing to say."""
    done = subprocess.run(
        module_argv("virtmesh.local.detached"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_one_that_can_not_be_imported_is_ended_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says what is missing; the reason is kept for one that gets an order."""
    (tmp_path / "setproctitle.py").write_text("raise ImportError('it is broken')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with EarlySupervisor() as early:
        early.process.wait()
        assert early.last_line() == "ImportError: it is broken"
        with early.order(Order("f", run_dir=str(tmp_path))) as events:
            assert events.read() == b""


def test_an_order_that_can_not_be_carried_out_is_refused(tmp_path: Path) -> None:
    """On its standard output. Nothing was begun, so the command looks for the fault itself."""
    order = Order(str(tmp_path / "missing.toml"), run_dir=str(tmp_path / "run"))
    with EarlySupervisor() as early, early.order(order) as events:
        (line,) = events.read().splitlines()
        assert early.process.wait() == 1
    report = json.loads(line)
    assert report["kind"] == REFUSED
    assert "missing.toml" in report["message"]


def test_a_log_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    """The run folder is known then."""
    run_dir = tmp_path / "run"
    (run_dir / SUPERVISOR_LOG).mkdir(parents=True)
    run_dir.chmod(0o700)
    (run_dir / LOCK).touch(mode=0o600)
    order = Order(quick=Quick(inputs=("keyboard",)), run_dir=str(run_dir))
    with EarlySupervisor() as early, early.order(order) as events:
        reports = [json.loads(line) for line in events.read().splitlines()]
        assert early.process.wait() == 1
    assert reports[0] == {"kind": CHOSEN, "message": str(run_dir), "name": ""}
    assert SUPERVISOR_LOG in reports[-1]["message"]


def test_an_order_has_any_name_of_a_file() -> None:
    """Also one that is not UTF-8. Half an order is none."""
    quick = Quick(disks=("a.img,size=1M", "/ü"), serial="", no_serial=True)
    for order in (Order("/m/\udcff.toml", run_dir="/run/ä\n", name="demo"), Order(quick=quick)):
        assert Order.decode(order.encode()) == order
        assert Order.decode(order.encode()[:-1]) is None
    assert Order.decode(b"") is None


@pytest.mark.parametrize("module", ["virtmesh.local.detached", "virtmesh.local.template.process"])
def test_what_forks_services_imports_as_they_do(module: str) -> None:
    """With the settings of gRPC in our processes, and without what no service needs."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH.format(module=module)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={key: value for key, value in os.environ.items() if key != "GRPC_EXPERIMENTS"},
    )
    assert done.stdout.splitlines() == ["-event_engine_client,-event_engine_listener", ""]


def test_who_imports_it_still_collects_garbage() -> None:
    """Only the process of a supervisor that is to fork does without."""
    code = "import gc, virtmesh.local.detached; print(gc.isenabled())"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"True\n"
