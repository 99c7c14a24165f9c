"""A supervisor that imports before it is known what it is to run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from virtmesh.local.early import EarlySupervisor, Order
from virtmesh.local.module_process import module_argv

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
        module_argv("virtmesh.local.supervise"),
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
        with early.order(Order("f", str(tmp_path), "x", 1.0)) as events:
            assert events.read() == b""


def test_an_order_that_can_not_be_carried_out_is_reported(tmp_path: Path) -> None:
    """On its standard output, also when its log can't be written."""
    order = Order(str(tmp_path / "missing.toml"), str(tmp_path / "missing"), "x", 1.0)
    with EarlySupervisor() as early, early.order(order) as events:
        (line,) = events.read().splitlines()
        assert early.process.wait() == 1
    assert b'"failed"' in line
    assert b"missing/supervisor.log" in line


def test_an_order_has_any_name_of_a_file() -> None:
    """Also one that is not UTF-8. Half an order is none."""
    order = Order("/m/\udcff.toml", "/run/ä\n", "demo", 30.0)
    assert Order.decode(order.encode()) == order
    assert order.log == Path("/run/ä\n/supervisor.log")
    assert Order.decode(order.encode()[:-1]) is None
    assert Order.decode(b"") is None


@pytest.mark.parametrize("module", ["virtmesh.local.supervise", "virtmesh.local.template.process"])
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
