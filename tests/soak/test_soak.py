"""A short soak in the ordinary run: everything at once, and nothing may be wrong at the end.

Environment: VIRTMESH_SEED (the plan; its times are never the same), VIRTMESH_SOAK_ROUNDS.
`make soak MINUTES=30` is the long form.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

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
