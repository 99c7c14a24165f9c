"""A machine under attack: its memory is bounded, and an innocent client is served.

The attacks are those of tests/bench/attacks.py, as processes of their own. Clocks are that
benchmark's business; here every call of the innocent is answered, however slow the host is.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from tests.bench.attacks import Innocent, Rig, attacking, resident

pytestmark = pytest.mark.processes

GROWTH_MAX_MIB = 300
"""Most that the memory of a service may grow by, under any attack."""
CALLS = 10
"""Calls of each kind that the innocent makes under each attack."""
SHORT = ("stalled-reads", "stalled-writes", "batches", "traces", "half-open")
LONG = ("deadlines", "deadlines-unix", "pages", "half-open-unix", "handovers", "metrics")
IS_LONG = bool(os.environ.get("VIRTMESH_ATTACKS"))


@pytest.mark.parametrize("attack", SHORT + (LONG if IS_LONG else ()))
def test_memory_is_bounded_and_the_innocent_is_served(rig: Rig, attack: str) -> None:
    """No service grows without end, and no call fails of a client that was there before."""
    processes = rig.processes()
    before = {name: resident(number) for name, number in processes.items()}
    for number in processes.values():
        Path(f"/proc/{number}/clear_refs").write_text("5", encoding="ascii")
    with closing(Innocent(rig)) as innocent:
        innocent.round(1, limit_s=60.0)  # Who comes later may find all connections taken.
        with attacking(rig, attack):
            outcome = innocent.round(CALLS, limit_s=60.0)

    grown = {name: resident(number, "VmHWM") - before[name] for name, number in processes.items()}
    assert {kind: failed for kind, (_, failed) in outcome.items()} == dict.fromkeys(outcome, 0)
    assert {kind: len(seconds) for kind, (seconds, _) in outcome.items()} == dict.fromkeys(
        outcome, CALLS
    )
    assert rig.processes() == processes
    assert max(grown.values()) < GROWTH_MAX_MIB, grown
