"""Pages of devices in `virtmesh top`: what is kept, how it is plotted, and the keys."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from rich.console import Console, RenderableType

from virtmesh_client.cli.top.page import draw_page, draw_trends
from virtmesh_client.cli.top.spark import ASCII, BLOCKS, sparkline
from virtmesh_client.cli.top.view import View
from virtmesh_client.top.history import History
from virtmesh_client.top.rates import Row
from virtmesh_common.interface import FigureInfo, MetricType

RIGHT, LEFT = b"\x1b[C", b"\x1b[D"


def row(name: str = "vda", requests: float | None = 1.0, **fields: object) -> Row:
    """Make a row."""
    return Row(name, "ready", "VirtIOBlk", ("DRIVER_OK",), requests, **fields)  # type: ignore[arg-type]


def printed(what: RenderableType, width: int = 80) -> list[str]:
    """Return the lines of what is drawn."""
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(what)
    return capture.get().splitlines()


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], "    "),
        ([0, 0], f"  {BLOCKS[0] * 2}"),
        ([1, 2, 4, 8], BLOCKS[1] + BLOCKS[2] + BLOCKS[4] + BLOCKS[7]),
        ([100, 8, 4, None, 8], f"{BLOCKS[7]}{BLOCKS[4]} {BLOCKS[7]}"),
        ([1e12, 1], f"  {BLOCKS[7]}{BLOCKS[1]}"),
        ([-5.0, 5.0], f"  {BLOCKS[0]}{BLOCKS[7]}"),
    ],
)
def test_values_are_plotted(values: Sequence[float | None], shown: str) -> None:
    """The latest on the right, scaled to the highest that is shown; little is not nothing."""
    assert sparkline(values, 4) == shown
    plain = sparkline(values, 4, blocks=False)
    assert [ASCII.find(one) for one in plain] == [BLOCKS.find(one) for one in shown]


def test_the_past_is_bounded() -> None:
    """Points of a device, and devices that have gone."""
    history = History(kept=3)
    for number in range(10):
        history.add([row(requests=number), row("vdb")])
    assert history.values("vda", lambda one: one.requests) == [7, 8, 9]
    history.add([row(requests=None)])
    assert history.values("vda", lambda one: one.requests) == [8, 9, None]
    assert not history.values("vdb", lambda one: one.requests)


@pytest.mark.parametrize(
    ("keys", "page"),
    [
        (b"", ""),
        (RIGHT, "vda"),
        (RIGHT * 2, "vdb"),
        (RIGHT * 3, ""),
        (LEFT, "vdb"),
        (b"\x1bOD", "vdb"),
        (b"\t", "vda"),
        (b"\x1b[Z", "vdb"),
        (b"n", "vda"),
        (b"p", "vdb"),
        (b"2", "vdb"),
        (b"20", ""),
        (b"2\x1b", ""),
        (b"3", ""),
        (b"\x1b[1;5C\x1b[15~xyz\xff\x00", ""),
    ],
)
def test_keys_choose_a_page(keys: bytes, page: str) -> None:
    """Arrows go round, digits go there; others mean nothing."""
    view = View("address")
    rows = [row("vda"), row("vdb")]
    changed = view.press(keys, rows)
    assert (view.device, changed) == (page, page != "")
    assert view.page(rows) == next((one for one in rows if one.name == page), None)
    assert not view.ended


def test_digits_count_what_is_shown() -> None:
    """In the order that it has."""
    view = View("requests")
    view.press(b"1", [row("idle", 0.0), row("busy", 9.0)])
    assert view.device == "busy"
    assert view.press(b"S", [])
    assert view.order == "bytes"
    view.press(b"Q", [])
    assert view.ended


def test_the_page_of_a_device_that_is_gone_is_that_of_all() -> None:
    """From where the keys go on; when it is back, so is its page."""
    view = View("address")
    view.press(b"2", [row("vda"), row("vdb")])
    assert view.page([row("vda")]) is None
    assert view.page([row("vdb")]) is not None
    view.press(RIGHT, [row("vda")])
    assert view.device == "vda"


def test_a_page_has_every_value_with_its_past() -> None:
    """What it is now, the most that it was, and a plot; figures of the kind as well."""
    figures = (
        FigureInfo("IN", MetricType.COUNTER, "requests"),
        FigureInfo("pixels", MetricType.GAUGE, "bytes"),
        FigureInfo("evil\x1b[2J", MetricType.GAUGE, ""),
    )
    history = History()
    for number in (8, 4):
        now = row(
            requests=number,
            p99_ns=number * 1000,
            figures=figures,
            own={"IN": number},
            totals={"pixels": number * 1e6, "evil\x1b[2J": 1},
            why="evil\x1b[2J",
        )
        history.add([now])
    lines = printed(draw_page(now, history, width=80))
    assert "\x1b" not in "".join(lines)
    assert lines[0].split()[:2] == ["vda", "ready"]
    values = {" ".join(cells[:-3]): cells[-3:] for cells in map(str.split, lines[4:])}
    assert values["requests"] == ["4.0/s", "8.0/s", BLOCKS[7] + BLOCKS[4]]
    assert values["latency, p99"] == ["4us", "8us", BLOCKS[7] + BLOCKS[4]]
    assert values["IN"] == ["4.0/s", "8.0/s", BLOCKS[7] + BLOCKS[4]]
    assert values["pixels"] == ["4000kB", "8000kB", BLOCKS[7] + BLOCKS[4]]
    assert not values.keys() & {"bytes", "in flight", "interrupts"}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_pages_fit_the_terminal(width: int) -> None:
    """Whatever the numbers, and for as long as it has run."""
    history = History()
    now = row(
        "a-device-with-a-long-name",
        999_999.0,
        bytes=99.9e9,
        p50_ns=9_999_000,
        p99_ns=9_999_000_000,
        figures=(FigureInfo("a figure with a long name", MetricType.GAUGE, "bytes"),),
        totals={"a figure with a long name": 1.5e15},
    )
    for _ in range(300):
        history.add([now])
    shown = [
        *printed(draw_page(now, history, width=width, stale=True), width),
        *printed(draw_trends([now], history, width=width), width),
    ]
    assert max(map(len, shown)) <= width
    plots = [line.rstrip() for line in shown if BLOCKS[7] in line]
    assert {line[-1] for line in plots} <= {BLOCKS[7], "s"}
