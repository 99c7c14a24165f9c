"""A run as JSON for programs and Markdown for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tests.bench.suite.figures import percentile, quartiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.bench.suite.figures import Buckets
    from tests.bench.suite.host import Host
    from tests.bench.suite.runner import Outcome, Run

SCHEMA = 1
"""Of result.json; it changes when a field changes its meaning."""
HOW_TO_READ = (
    "A ratio is ours / peer of the same round, as the median of all rounds, with the middle half of"
    " the ratios. docs/benchmarks.md says what the rows are."
)
PERCENTILES = (50, 90, 99, 99.9)


@dataclass(frozen=True)
class Facts:
    """How a run was made."""

    date: str
    """UTC, ISO 8601."""
    command: str
    rounds: int
    seconds: float
    took_s: float
    load_after: float
    cpus: tuple[int, ...]
    host: Host


def to_json(run: Run, facts: Facts) -> dict[str, Any]:
    """Return all that is known, as JSON takes it."""
    return {
        "schema": SCHEMA,
        "interrupted": run.interrupted,
        **asdict(facts),
        "rows": [_row_to_json(one) for one in run.outcomes],
    }


def _row_to_json(outcome: Outcome) -> dict[str, Any]:
    """Return a row."""
    ratio = outcome.ratio
    row = outcome.row
    found: dict[str, Any] = {
        "name": row.name,
        "what": row.what,
        "peer_is": row.peer,
        "unit": row.unit,
        "better": row.better,
        "goal": row.goal,
        "where": outcome.where,
        "series": row.series,
        "depth": row.depth,
        "figure": row.figure,
        "not_measured": outcome.why or None,
        "ratio": asdict(ratio) if ratio else None,
        "reached": row.reached(ratio.median) if ratio else None,
        "ours": outcome.ours,
        "peer": outcome.peer,
    }
    if outcome.our_latencies and row.figure == "rate":
        found["our_latencies_ns"] = outcome.our_latencies
        found["peer_latencies_ns"] = outcome.peer_latencies
    return found


def to_markdown(run: Run, facts: Facts, plots: Sequence[str]) -> str:
    """Return the page of a run."""
    lines = [
        f"# Benchmark of {facts.date[:10]}",
        "",
        *(f"- {one}" for one in _facts(run, facts)),
        "",
        HOW_TO_READ,
        "",
        *_table(run.outcomes, with_goal=True),
    ]
    others = _table(run.outcomes, with_goal=False)
    if others:
        lines += ["## Rows without a goal", "", *others]
    lines += _latencies(run.outcomes)
    if plots:
        lines += ["## Plots", "", *(f"![{name}]({name})" for name in plots), ""]
    return "\n".join(lines)


def _facts(run: Run, facts: Facts) -> Iterator[str]:
    """Say how the run was made."""
    host = facts.host
    ended = " It was **interrupted**." if run.interrupted else ""
    yield f"Run: `{facts.command}`, {facts.date}, {facts.took_s / 60:.1f} minutes.{ended}"
    yield f"Commit: `{host.commit}` (with `+`, files differ from it)."
    cpus = ", ".join(map(str, facts.cpus))
    yield f"Machine: {host.processor}, {host.processors} processors, {host.memory_gib:g} GiB."
    yield f"CPUs that the run used: {cpus}. Linux {host.kernel}, governor {host.governor}."
    yield f"Load: {host.load_before:.1f} before, {facts.load_after:.1f} after."
    yield f"Images: {host.file_system}."
    yield f"Peer: {host.qsd}. Python {host.python}."
    yield f"Rounds: {facts.rounds}, and one that warms up; {facts.seconds:g} s a measurement."


def _table(outcomes: Sequence[Outcome], *, with_goal: bool) -> list[str]:
    """Return the rows that have a goal, or those that have none."""
    mine = [one for one in outcomes if (one.row.goal is not None) == with_goal]
    if not mine:
        return []
    goal = " goal | reached |" if with_goal else ""
    lines = [
        f"| row | what | peer or floor | better | ratio | middle half | ours | peer | unit |{goal}",
        "|---|---|---|---|---|---|---|---|---|" + ("---|---|" if with_goal else ""),
    ]
    for one in mine:
        cells = [f"`{one.row.name}`", one.row.what, one.row.peer, one.row.better]
        ratio = one.ratio
        if ratio is None:
            cells += [f"not measured: {one.why}".replace("|", "/"), "", "", "", one.row.unit]
        else:
            cells += [
                f"**{ratio.median:.2f}**",
                f"{ratio.low:.2f} to {ratio.high:.2f}",
                number(quartiles(one.ours).median),
                number(quartiles(one.peer).median),
                one.row.unit,
            ]
        if with_goal:
            reached = one.row.reached(ratio.median) if ratio else None
            cells += [f"{one.row.goal:g}", {True: "yes", False: "**no**", None: ""}[reached]]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _latencies(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the table of latencies."""
    mine = [one for one in outcomes if one.our_latencies and one.row.figure == "rate" and one.ratio]
    if not mine:
        return []
    heads = " | ".join(f"p{one:g}" for one in PERCENTILES)
    lines = [
        "## Latencies",
        "",
        "Microseconds of a request, ours / peer, over all rounds.",
        "",
        f"| row | {heads} |",
        "|---|" + "---|" * len(PERCENTILES),
    ]
    for one in mine:
        cells = [
            f"{_us(one.our_latencies, share)} / {_us(one.peer_latencies, share)}"
            for share in PERCENTILES
        ]
        lines.append(f"| `{one.row.name}` | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _us(buckets: Buckets, share: float) -> str:
    """Return a percentile in microseconds; a dash for who tells no latencies, as fio here."""
    if not buckets:
        return "-"
    return number(percentile(buckets, share) / 1000)


def number(value: float) -> str:
    """Write a figure with three digits that count, or all of a large one."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def write(run: Run, facts: Facts, folder: Path, plots: Sequence[str]) -> None:
    """Write result.json and result.md into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(to_json(run, facts)) + "\n")
    (folder / "result.md").write_text(to_markdown(run, facts, plots))
