"""The report of a soak: report.md for people, report.json for programs, plots in SVG."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.soak.plots import draw_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.soak.leaks import Judgement
    from tests.soak.run import Soak

ERRORS_SHOWN = 30


def write_report(soak: Soak, folder: Path) -> None:
    """Write everything into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(to_json(soak), indent=1) + "\n")
    plots = draw_all(soak, folder)
    (folder / "report.md").write_text(to_markdown(soak, plots))
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    for log in soak.cli.run_dir.glob("*.log"):
        (logs / log.name).write_bytes(log.read_bytes())


def to_json(soak: Soak) -> dict[str, Any]:
    """Return everything that is known, as JSON takes it. Times are in seconds since the start."""
    journal = soak.journal
    return {
        "seed": soak.seed,
        "rounds": soak.rounds,
        "finished_rounds": soak.finished_rounds,
        "seconds": journal.now(),
        "interrupted": soak.interrupted,
        "again": again(soak),
        "violations": [asdict(one) for one in journal.violations],
        "disturbances": [asdict(one) for one in journal.disturbances],
        "done": dict(soak.done),
        "hits": dict(soak.hits),
        "outages_seconds": dict(soak.outages),
        "operations": [
            {"role": role, "operation": name, "count": count, "slowest_seconds": slowest}
            for (role, name), count in sorted(journal.operations.items())
            for slowest in [journal.slowest[role, name]]
        ],
        "moved_bytes": dict(journal.moved),
        "errors": [
            {
                "role": role,
                "operation": name,
                "reason": reason,
                "expected": expected,
                "count": count,
            }
            for (role, name, reason, expected), count in sorted(journal.failed.items())
        ],
        "failures": [asdict(one) for one in journal.failures],
        "balanced": dict(soak.balanced),
        "judgements": [asdict(one) for one in soak.judgements],
        "samples": [asdict(one) for one in soak.samples],
        "throughput": soak.throughput,
    }


def again(soak: Soak) -> str:
    """Return the command that does the same again, up to the first violation."""
    first = min((one.event for one in soak.journal.violations), default=0)
    upto = f" --events 1-{first}" if first else ""
    return f"python -m tests.soak --seed {soak.seed} --rounds {soak.rounds}{upto}"


def verdict(soak: Soak) -> str:
    """Return the outcome in one line."""
    violations = len(soak.journal.violations)
    how = "interrupted" if soak.interrupted else "complete"
    return (
        f"seed {soak.seed}, {how}: {f'{violations} violations' if violations else 'no violation'}"
    )


def to_markdown(soak: Soak, plots: Sequence[str]) -> str:
    """Return the report for people."""
    journal = soak.journal
    lines = [
        f"# Soak: {verdict(soak)}",
        "",
        f"{soak.finished_rounds} of {soak.rounds} rounds, {journal.now():.0f} s.",
        "",
        f"The same again: `{again(soak)}`.",
        "",
    ]
    if journal.violations:
        lines += ["## Violations", ""]
        lines += table(
            ("at", "after event", "who", "what"),
            [
                (f"{one.at:.1f} s", one.event, one.who, one.what.strip().replace("\n", " "))
                for one in journal.violations
            ],
        )
    for name in plots:
        lines += [f"![{name}]({name})", ""]
    lines += ["## What was done", ""]
    lines += table(
        ("event", "times", "events that the faults took"),
        [(name, count, soak.hits.get(name, "")) for name, count in sorted(soak.done.items())],
    )
    lines += [
        "## Outages",
        "",
        "From the signal, or the request, until the driver has it again.",
        "",
    ]
    lines += table(
        ("of", "times", "min", "median", "95 %", "max"),
        [(name, len(times), *spread(times)) for name, times in sorted(soak.outages.items())],
    )
    lines += ["## Operations", ""]
    lines += table(
        ("role", "operation", "succeeded", "slowest"),
        [
            (role, name, count, f"{journal.slowest[role, name]:.2f} s")
            for (role, name), count in sorted(journal.operations.items())
        ],
    )
    lines += ["## Errors of clients", ""]
    lines += table(
        ("role", "operation", "reason", "expected", "times"),
        [
            (role, name, reason, "yes" if expected else "NO", count)
            for (role, name, reason, expected), count in sorted(journal.failed.items())
        ],
    )
    lines += ["## Books", "", "Comparisons of counters, in the rests between rounds.", ""]
    lines += table(("what was compared", "times"), sorted(by_sort(soak.balanced).items()))
    lines += ["## Memory, descriptors, threads", "", RULE, ""]
    lines += table(
        ("process", "lives judged", "longest", "memory", "descriptors", "threads"),
        resources(soak.judgements),
    )
    lines += table(
        ("at the end", "PSS", "anonymous", "descriptors", "threads"),
        [
            (
                one.last.name,
                f"{one.last.pss_kib} KiB",
                f"{one.first.anonymous_kib} to {one.last.anonymous_kib} KiB",
                f"{one.first.descriptors} to {one.last.descriptors}",
                f"{one.first.threads} to {one.last.threads}",
            )
            for one in soak.levels
            if one.last.at >= max(level.last.at for level in soak.levels) - 1.0
        ],
    )
    return "\n".join(lines)


RULE = (
    "Of each life that lasted 90 s, the second half is judged: growth by the median slope of all"
    " pairs of samples (Theil and Sen), in an hour. `tests/soak/leaks.py` has the rule. The second"
    " table compares each process's first quiet sample after warm-up with its last."
)


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table, and an empty one."""
    found = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    if not found:
        return ["None.", ""]
    marks = ["---"] * len(head)
    return [f"| {' | '.join(row)} |" for row in ([str(one) for one in head], marks, *found)] + [""]


def spread(times: Sequence[float]) -> tuple[str, ...]:
    """Return least, median, 95th percentile and largest of times."""
    times = sorted(times)
    late = times[min(len(times) - 1, len(times) * 95 // 100)]
    return tuple(f"{one:.2f} s" for one in (times[0], median(times), late, times[-1]))


def by_sort(balanced: Counter[str]) -> Counter[str]:
    """Return comparisons without the names of devices that are alike."""
    found: Counter[str] = Counter()
    for name, count in balanced.items():
        for device in ("keyboard", "mouse", "tablet"):
            name = name.replace(f" {device}", " an input device")  # noqa: PLW2901
        found[name] += count
    return found


def resources(judgements: Sequence[Judgement]) -> list[tuple[object, ...]]:
    """Return a row for each process: how many lives, and what grew most of each quantity."""
    rows: list[tuple[object, ...]] = []
    for name in sorted({one.name for one in judgements}):
        mine = [one for one in judgements if one.name == name]
        cells = []
        for what in ("memory", "descriptors", "threads"):
            worst = max((one for one in mine if one.what == what), key=growth, default=None)
            unit = " KiB" if what == "memory" else ""
            cells.append(
                f"{worst.before:.0f} to {worst.after:.0f}{unit} ({worst.slope:+.0f} in an hour)"
                if worst
                else "too few samples"
            )
        longest = max(one.seconds for one in mine)
        rows.append((name, len({one.pid for one in mine}), f"{longest:.0f} s", *cells))
    return rows


def growth(judgement: Judgement) -> float:
    """Return by how much a quantity grew in what was judged."""
    return judgement.slope * judgement.seconds
