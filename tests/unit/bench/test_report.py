"""Results of the benchmark suite: JSON, Markdown, plots."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.bench.suite.experiment import Row
from tests.bench.suite.host import Host, file_system
from tests.bench.suite.plots import draw_all, slower
from tests.bench.suite.report import SCHEMA, Facts, number, to_json, write
from tests.bench.suite.runner import Outcome, Run

HOST = Host("EPYC", 2, "6.1", 8.0, "3.11", "qsd 7.2", "abc", "ext4 at /", "not shown", 1.0)
FACTS = Facts("2026-11-30T12:00:00+00:00", "bench", 3, 0.2, 60.0, 1.5, (0, 1), HOST)
RATE = Row(
    "read-d1", "reads", "QSD", "requests/s", "higher", 3.0, figure="rate", series="read", depth=1
)
MEASURED = Outcome(
    RATE,
    "one CPU",
    [300.0, 200.0, 100.0],
    [100.0, 100.0, 100.0],
    [(1000, 9), (2000, 1)],
    [(3000, 5)],
)
MISSING = Outcome(
    Row("direct", "direct reads", "fio", "requests/s", "higher", 0.9),
    "one CPU",
    why="no fio | none",
)
RUN = Run([MEASURED, MISSING])


def test_json_has_every_round_the_ratio_and_the_reason(tmp_path: Path) -> None:
    """What a program needs to compare two runs."""
    write(RUN, FACTS, tmp_path, [])

    found = json.loads((tmp_path / "result.json").read_text())

    measured, missing = found["rows"]
    assert (found["schema"], found["host"]["commit"], found["rounds"]) == (SCHEMA, "abc", 3)
    assert measured["ours"] == [300.0, 200.0, 100.0]
    assert measured["ratio"] == {"low": 1.5, "median": 2.0, "high": 2.5}
    assert (measured["reached"], measured["not_measured"]) == (False, None)
    assert measured["our_latencies_ns"] == [[1000, 9], [2000, 1]]
    assert (missing["ratio"], missing["reached"]) == (None, None)
    assert missing["not_measured"] == "no fio | none"


def test_both_kinds_of_rows_have_the_same_fields() -> None:
    """A reader needs no cases, but for latencies."""
    measured, missing = to_json(RUN, FACTS)["rows"]

    assert set(measured) - set(missing) == {"our_latencies_ns", "peer_latencies_ns"}


def test_markdown_says_where_we_are_behind_and_what_was_not_measured(tmp_path: Path) -> None:
    """A goal that is missed is marked; a reason can't break the table."""
    write(RUN, FACTS, tmp_path, ["rate.svg"])

    page = (tmp_path / "result.md").read_text()

    (row,) = (line for line in page.splitlines() if line.startswith("| `read-d1` | reads"))
    assert "| **2.00** | 1.50 to 2.50 | 200 | 100 | requests/s | 3 | **no** |" in row
    (lacking,) = (line for line in page.splitlines() if line.startswith("| `direct`"))
    assert "not measured: no fio / none" in lacking
    assert lacking.count("|") == row.count("|")
    assert "commit" in page.lower()
    assert "| `read-d1` | 1.00 / 3.00 | 1.00 / 3.00 | 2.00 / 3.00 | 2.00 / 3.00 |" in page
    assert "![rate.svg](rate.svg)" in page


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    """Nobody takes it for a whole one."""
    write(Run([MEASURED], interrupted=True), FACTS, tmp_path, [])

    assert "interrupted" in (tmp_path / "result.md").read_text()
    assert json.loads((tmp_path / "result.json").read_text())["interrupted"]


def test_plots_are_svg_with_text_and_the_same_each_time(tmp_path: Path) -> None:
    """What is committed changes only when figures do."""
    first = draw_all(RUN.outcomes, tmp_path / "a")
    again = draw_all(RUN.outcomes, tmp_path / "b")

    assert first == again == ["rate-by-depth.svg", "latencies.svg"]
    for name in first:
        text = (tmp_path / "a" / name).read_text()
        ET.fromstring(text)  # noqa: S314 - our own file
        assert text == (tmp_path / "b" / name).read_text()
        assert "virtmesh" in text


def test_nothing_measured_draws_nothing(tmp_path: Path) -> None:
    """A run of rows that all lack something has no plots."""
    assert draw_all([MISSING], tmp_path) == []


def test_the_share_that_took_longer_falls_to_nothing() -> None:
    """A curve of a histogram ends at 0."""
    assert slower([(1000, 6), (5000, 4)]) == ([1.0, 5.0], [0.4, 0.0])


def test_figures_have_the_digits_that_count() -> None:
    """Small ones have more."""
    assert [number(one) for one in (0.123, 9.87, 45.67, 123456.7)] == [
        "0.12",
        "9.87",
        "45.7",
        "123,457",
    ]


def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    """A mount above it does not count where there is one nearer."""
    mounts = f"/dev/vda / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\nx {tmp_path}x xfs rw 0 0\n"

    assert file_system(tmp_path / "images", mounts) == f"tmpfs at {tmp_path}"
    assert file_system(Path("/usr"), mounts) == "ext4 at /"
