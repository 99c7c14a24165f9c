"""When a process that died is started again."""

from __future__ import annotations

from virtmesh.local.restarts import (
    FIRST_DELAY_SECONDS,
    LONGEST_DELAY_SECONDS,
    QUICK_MAX,
    QUICK_SECONDS,
    Restarts,
)


def test_a_process_that_had_served_is_started_at_once() -> None:
    """However often it dies."""
    restarts = Restarts()
    assert [restarts.delay(QUICK_SECONDS) for _ in range(100)] == [0.0] * 100


def test_quick_deaths_wait_longer_each_time_and_then_hold_it() -> None:
    """The first wait is a person's instant, and none is long."""
    restarts = Restarts()
    delays = [restarts.delay(0.0) for _ in range(QUICK_MAX)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert (FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS) == (0.1, 2.0)
    assert restarts.delay(0.0) is None


def test_a_death_after_longer_service_never_counts() -> None:
    """It ends the row of quick ones before it."""
    restarts = Restarts()
    for _ in range(QUICK_MAX):
        restarts.delay(0.0)
    assert restarts.delay(QUICK_SECONDS) == 0.0
    assert restarts.delay(QUICK_SECONDS - 0.1) == FIRST_DELAY_SECONDS
