"""The plots of a soak: memory, descriptors, throughput, outages over time, with what was done."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.soak.expectations import AWAY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes

    from tests.soak.resources import Sample
    from tests.soak.run import Soak

SIZE = (11.0, 6.5)
"""Inches."""
MARKS = {"kill": ("#c0392b", "v"), "stop": ("#8e44ad", "s"), "restart": ("#2471a3", "^")}
FAULT = ("#e67e22", "|")
KERNEL = "#000000"


def draw_all(soak: Soak, folder: Path, kind: str = "svg") -> list[str]:
    """Draw all plots into a folder; return their names."""
    mpl.rcParams["svg.hashsalt"] = "soak"  # the same data gives the same file
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    drawn = []
    for name, draw in (
        ("memory", draw_memory),
        ("descriptors", draw_descriptors),
        ("throughput", draw_throughput),
        ("outages", draw_outages),
    ):
        figure = Figure(figsize=SIZE, layout="constrained")
        above, below = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": (5, 2)}
        ).tolist()
        draw(soak, above)
        mark_events(soak, below)
        above.grid(visible=True, alpha=0.3)
        figure.suptitle(f"{name.capitalize()} of a soak, seed {soak.seed}")
        figure.savefig(folder / f"{name}.{kind}", metadata={"Date": None} if kind == "svg" else {})
        drawn.append(f"{name}.{kind}")
    return drawn


def draw_memory(soak: Soak, axes: Axes) -> None:
    """Draw the PSS of each process, a line for each of its lives."""
    draw_lives(soak, axes, lambda one: one.pss_kib / 1024)
    axes.set_ylabel("PSS (MiB)")
    axes.set_ylim(bottom=0)


def draw_descriptors(soak: Soak, axes: Axes) -> None:
    """Draw the open descriptors of each process; dots are samples while all clients rested."""
    draw_lives(soak, axes, lambda one: one.descriptors)
    axes.set_ylabel("open descriptors (dots: at rest)")
    axes.set_ylim(bottom=0)


def draw_lives(soak: Soak, axes: Axes, value: Callable[[Sample], float]) -> None:
    """Draw a line for each life of each process."""
    names = sorted({one.name for one in soak.samples})
    colours = mpl.color_sequences["tab10"]
    for index, name in enumerate(names):
        colour = colours[index % len(colours)]
        mine = sorted((one for one in soak.samples if one.name == name), key=lambda one: one.at)
        label: str | None = name
        for life in dict.fromkeys(one.life for one in mine):
            points = [one for one in mine if one.life == life]
            axes.plot(
                [one.at for one in points],
                [value(one) for one in points],
                color=colour,
                linewidth=1.2,
                label=label,
            )
            label = None
        quiet = [one for one in mine if one.quiet]
        axes.plot(
            [one.at for one in quiet],
            [value(one) for one in quiet],
            ".",
            color=colour,
            markersize=5,
        )
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")


def draw_throughput(soak: Soak, axes: Axes) -> None:
    """Draw operations, and bytes of disks, in a second."""
    points = soak.throughput
    pairs = list(pairwise(points))
    times = [right[0] for _, right in pairs]
    rates = [(b[1] - a[1]) / max(b[0] - a[0], 1e-9) for a, b in pairs]
    moved = [(b[2] - a[2]) / max(b[0] - a[0], 1e-9) / (1 << 20) for a, b in pairs]
    axes.plot(times, rates, color="#2471a3", linewidth=1.2, label="operations of all clients")
    axes.set_ylabel("operations in a second")
    axes.set_ylim(bottom=0)
    right = axes.twinx()
    right.plot(times, moved, color="#27ae60", linewidth=1.2, label="disks, MiB in a second")
    right.set_ylabel("MiB in a second")
    right.set_ylim(bottom=0)
    lines = [*axes.get_lines(), *right.get_lines()]
    axes.legend(lines, [str(one.get_label()) for one in lines], loc="upper right", fontsize="small")


def draw_outages(soak: Soak, axes: Axes) -> None:
    """Draw how long each process was away, by what was done to it."""
    found = [one for one in soak.journal.disturbances if one.outage is not None]
    for kind, (colour, marker) in MARKS.items():
        for of_kernel in (False, True):
            mine = [
                one for one in found if one.kind == kind and (one.device == "kernel") == of_kernel
            ]
            if mine:
                axes.plot(
                    [one.begin for one in mine],
                    [one.outage or 0.0 for one in mine],
                    marker,
                    color=colour,
                    markeredgecolor=KERNEL if of_kernel else colour,
                    markersize=8 if of_kernel else 6,
                    label=f"{kind} of {'the kernel service' if of_kernel else 'a device'}",
                )
    axes.set_yscale("log")
    axes.set_ylabel("outage (s)")
    if found:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")


def mark_events(soak: Soak, axes: Axes) -> None:
    """Draw who was disturbed when: a row for each service, bars for faults."""
    found = soak.journal.disturbances
    names = sorted({one.device for one in found})
    rows = {name: number for number, name in enumerate(names)}
    end = soak.journal.now()
    for one in found:
        row = rows[one.device]
        if one.kind in AWAY:
            colour, marker = MARKS[one.kind]
            axes.plot(one.begin, row, marker, color=colour, markersize=5)
        else:
            stop = one.end if one.end is not None else end
            axes.plot(
                [one.begin, max(stop, one.begin + 0.3)],
                [row, row],
                color=FAULT[0],
                linewidth=4,
                alpha=0.5,
                solid_capstyle="butt",
            )
    for violation in soak.journal.violations:
        axes.axvline(violation.at, color="#ff0000", linewidth=0.8)
    axes.set_yticks(range(len(names)), names, fontsize="small")
    axes.set_xlabel(
        "seconds; triangle down: killed, square: stopped, triangle up: restarted,"
        " bar: a fault or a reset, red line: a violation"
    )
    axes.margins(y=0.15)
