"""The plots of a run: rate and CPU time against depth, and latencies, ours beside the peer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.bench.suite.figures import quartiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from tests.bench.suite.figures import Buckets
    from tests.bench.suite.runner import Outcome

OURS, PEER = "#2471a3", "#e67e22"
COLUMNS = 3
CELL = (4.0, 3.0)
"""Inches."""
STEP = 1.06
"""Between two points of a curve of latencies."""
TITLES = {
    "rate": ("4 KiB requests in a second", "requests/s"),
    "cpu_us": ("CPU time of the disk for a 4 KiB request", "us"),
}


def draw_all(outcomes: Sequence[Outcome], folder: Path) -> list[str]:
    """Draw what there is into a folder; return the names of the files."""
    mpl.rcParams["svg.hashsalt"] = "bench"  # the same data gives the same file
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    folder.mkdir(parents=True, exist_ok=True)
    measured = [one for one in outcomes if one.ratio is not None]
    drawn = []
    for figure, (title, unit) in TITLES.items():
        mine = [one for one in measured if one.row.figure == figure and one.row.depth is not None]
        if mine:
            drawn.append(f"{figure.partition('_')[0]}-by-depth.svg")
            _by_depth(mine, title, unit, folder / drawn[-1])
    timed = [one for one in measured if one.row.figure == "rate" and one.our_latencies]
    timed = [one for one in timed if one.row.depth in {1, 32}]
    if timed:
        drawn.append("latencies.svg")
        _latencies(timed, folder / drawn[-1])
    return drawn


def _grid(count: int, title: str) -> tuple[Figure, list[Axes]]:
    """Make a figure with so many plots."""
    columns = min(COLUMNS, count)
    lines = -(-count // columns)
    size = (CELL[0] * columns, CELL[1] * lines + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    axes: list[Axes] = figure.subplots(lines, columns, squeeze=False).flatten().tolist()
    for stray in axes[count:]:
        stray.set_visible(False)
    figure.suptitle(title)
    return figure, axes[:count]


def _save(figure: Figure, path: Path) -> None:
    """Write a figure."""
    figure.savefig(path, metadata={"Date": None})


def _by_depth(outcomes: Sequence[Outcome], title: str, unit: str, path: Path) -> None:
    """Draw a plot for each series: medians by depth, with bars from quartile to quartile."""
    names = list(dict.fromkeys(one.row.series for one in outcomes))
    figure, plots = _grid(len(names), title)
    for name, axes in zip(names, plots, strict=True):
        mine = sorted(
            (one for one in outcomes if one.row.series == name), key=lambda one: one.row.depth or 0
        )
        depths = [one.row.depth or 0 for one in mine]
        for label, colour, sides in (
            ("virtmesh", OURS, [one.ours for one in mine]),
            (mine[0].row.peer, PEER, [one.peer for one in mine]),
        ):
            cuts = [quartiles(values) for values in sides]
            below = [one.median - one.low for one in cuts]
            above = [one.high - one.median for one in cuts]
            middles = [one.median for one in cuts]
            axes.errorbar(
                depths, middles, (below, above), color=colour, marker="o", capsize=3, label=label
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(depths, [str(depth) for depth in depths])
        axes.set_ylim(bottom=0)
        axes.set_title(name, fontsize="small")
        axes.set_xlabel("requests in flight")
        axes.set_ylabel(unit)
        axes.grid(visible=True, alpha=0.3)
    plots[0].legend(fontsize="small")
    _save(figure, path)


def _latencies(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw which share of requests took longer than a time."""
    figure, plots = _grid(len(outcomes), "Latencies of 4 KiB requests")
    for one, axes in zip(outcomes, plots, strict=True):
        for label, colour, buckets in (
            ("virtmesh", OURS, one.our_latencies),
            (one.row.peer, PEER, one.peer_latencies),
        ):
            times, shares = slower(buckets)
            axes.plot(times, shares, color=colour, label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(1e-4, 1)
        axes.set_title(f"{one.row.series}, depth {one.row.depth}", fontsize="small")
        axes.set_xlabel("us")
        axes.set_ylabel("share that took longer")
        axes.grid(visible=True, alpha=0.3)
    plots[0].legend(fontsize="small")
    _save(figure, path)


def slower(buckets: Buckets) -> tuple[list[float], list[float]]:
    """Return times in microseconds, and the share of requests that took longer than each.

    Times are a step apart, but for the last: a plot shows no more.
    """
    left = total = sum(count for _, count in buckets)
    times: list[float] = []
    shares: list[float] = []
    for end, count in buckets:
        left -= count
        if not left or not times or end / 1000 >= STEP * times[-1]:
            times.append(end / 1000)
            shares.append(left / total)
    return times, shares
