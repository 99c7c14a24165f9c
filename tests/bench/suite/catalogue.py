"""All experiments, in the order of the table."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import TYPE_CHECKING

from tests.bench.suite.experiments import (
    bulk,
    control,
    direct,
    machine,
    neighbour,
    ring,
    small,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.suite.experiment import Experiment


def experiments(*, long: bool) -> list[Experiment]:
    """List the experiments; those of a long run have more depths."""
    return [
        *small.experiments(long=long),
        *bulk.experiments(),
        *direct.experiments(),
        *ring.experiments(),
        *machine.experiments(),
        *control.experiments(),
        *neighbour.experiments(),
    ]


def choose(found: Sequence[Experiment], patterns: Sequence[str]) -> set[str]:
    """Return the names of the rows that match any pattern. Errors: LookupError for a stray one."""
    names = [row.name for one in found for row in one.rows]
    chosen: set[str] = set()
    for pattern in patterns or ["*"]:
        matching = {name for name in names if fnmatch(name, pattern)}
        if not matching:
            raise LookupError(f"no row is called {pattern}; --list shows them")
        chosen |= matching
    return chosen
