"""A short soak in the ordinary run: everything at once, and nothing may be wrong at the end.

Environment: VIRTMESH_SEED (the plan; its times are never the same), VIRTMESH_SOAK_ROUNDS.
`make soak MINUTES=30` is the long form.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.soak.plan import Event
from tests.soak.report import verdict, write_report
from tests.soak.run import Soak
from tests.support.cli import own_folder
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = int(os.environ.get("VIRTMESH_SOAK_ROUNDS", "4"))
SEED = int(os.environ.get("VIRTMESH_SEED", "20"))
SECONDS = 10.0
"""Of a round."""

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300 + 60 * ROUNDS)]


def test_a_short_soak_finds_nothing(tmp_path: Path) -> None:
    """Its report has all that was done, as text, as JSON, and drawn."""
    faulthandler.cancel_dump_traceback_later()  # it takes longer than pytest finds usual
    with own_folder() as cli:
        soak = Soak(SEED, ROUNDS, cli, round_seconds=SECONDS)
        soak.run()
        write_report(soak, tmp_path)
    say(verdict(soak))

    assert [
        f"after event {one.event}, {one.who}: {one.what}" for one in soak.journal.violations
    ] == []
    assert soak.finished_rounds == ROUNDS
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["done"] == dict(soak.done)
    assert sum(len(times) for times in report["outages_seconds"].values()) > 0
    assert {one["role"] for one in report["operations"]} >= {
        "writer",
        "copier",
        "injector",
        "talker",
        "reader",
        "viewer",
        "visitor",
    }
    assert report["balanced"]["requests that vda and its driver completed"] > 0
    text = (tmp_path / "report.md").read_text()
    assert f"seed {SEED}, complete: no violation" in text
    for name in ("memory", "descriptors", "throughput", "outages"):
        assert f"]({name}.svg)" in text
        assert ET.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")  # noqa: S314 - ours


def test_a_disk_that_corrupts_writes_is_caught(tmp_path: Path) -> None:
    """No error is seen, and no counter differs: only the data says it."""
    plan = [Event(1, 0, 0.5, "fault", "vda", "corrupt-write every=5 bytes=4 seed=3", 4.0)]
    with own_folder() as cli:
        soak = Soak(1, 1, cli, round_seconds=5.0, plan=plan)
        soak.run()
        write_report(soak, tmp_path)

    found = soak.journal.violations
    assert found
    assert {one.who.split()[0] for one in found} == {"writer"}
    assert any("torn" in one.what or "no sector of ours" in one.what for one in found)
    assert {one.event for one in found} == {1}
    text = (tmp_path / "report.md").read_text()
    assert "python -m tests.soak --seed 1 --rounds 1 --events 1-1" in text
    assert "## Violations" in text


def test_ctrl_c_ends_it_with_the_report_so_far(tmp_path: Path) -> None:
    """In the middle of a round, with clients at work and a machine that is being disturbed."""
    command = [sys.executable, "-m", "tests.soak", "--seed", "3", "--folder", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            for line in process.stdout:
                if " 0 disturbances" not in line:
                    break
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
            status = process.wait()
        finally:
            process.kill()

    assert first.startswith("seed 3, ")
    assert "seed 3, interrupted: no violation" in rest
    assert status == 130
    assert "interrupted" in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["interrupted"] is True
