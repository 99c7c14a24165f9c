"""`virtmesh report` of a machine with a CPU, for tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.cli import Cli

Rows = dict[str, dict[str, Any]]
"""Violations by the names of their rules."""


def read_report(cli: Cli, *names: str) -> tuple[dict[str, Rows], int]:
    """Read the violations of each device (all, or those that are named), and the exit status."""
    result = cli("report", "--json", *names)
    if result.stderr:
        raise RuntimeError(result.stderr)
    told = {
        one["device"]: {row["rule"]: row for row in one["violations"]}
        for one in json.loads(result.stdout)
    }
    return told, result.returncode
