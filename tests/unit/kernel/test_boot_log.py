"""The boot log: lines with times, a bounded number of them, for readers at any pace."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from virtmesh.kernel.boot_log import LINE_MAX, BootLog
from virtmesh_common.errors import DeviceLost


class Clock:
    """A clock that the test turns, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def test_lines_have_the_time_since_the_start() -> None:
    """In seconds and microseconds, in the form that Linux has."""
    clock = Clock()
    log = BootLog(clock=clock)

    log.add("first")
    clock.now += 12.3456789
    log.add("second")

    assert log.last(10) == ["[    0.000000] first", "[   12.345679] second"]


def test_control_characters_of_a_device_are_shown_as_question_marks() -> None:
    """A name that a device gives itself can't move the cursor of whoever reads the log."""
    log = BootLog(clock=Clock())

    log.add("input: evil\x1b[2J\r\nname, grüße")

    assert log.last(1) == ["[    0.000000] input: evil?[2J??name, grüße"]


def test_long_lines_are_cut() -> None:
    """What a device says of itself has a bound."""
    log = BootLog(clock=Clock())

    log.add("x" * 100_000)

    assert log.last(1) == ["[    0.000000] " + "x" * LINE_MAX]


def test_the_oldest_lines_make_room() -> None:
    """The log has a bound; `last` returns what is kept."""
    log = BootLog(kept=3, clock=Clock())

    for number in range(5):
        log.add(str(number))

    assert [line[-1] for line in log.last(100)] == ["2", "3", "4"]
    assert [line[-1] for line in log.last(1)] == ["4"]
    assert list(log.last(0)) == []
    assert log.count == 5


class Page:
    """Takes lines, or refuses to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.error: Exception | None = None

    async def write(self, lines: Sequence[str]) -> None:
        """Take lines, without their times."""
        if self.error is not None:
            raise self.error
        self.lines += [line.partition("] ")[2] or line for line in lines]


async def test_a_late_reader_gets_everything_from_the_beginning() -> None:
    """Boot messages reach a console that comes up after them, each once."""
    log, page = BootLog(clock=Clock()), Page()
    log.add("early")
    reader = log.reader()
    log.add("late")

    await reader.pass_on(page.write)
    await reader.pass_on(page.write)

    assert page.lines == ["early", "late"]


async def test_readers_wait_for_the_next_line() -> None:
    """And each reader gets every line."""
    log, page = BootLog(clock=Clock()), Page()
    readers = [log.reader(), log.reader()]
    waits = [asyncio.create_task(reader.news()) for reader in readers]
    await asyncio.sleep(0)
    early = [wait.done() for wait in waits]

    log.add("news")
    await asyncio.gather(*waits)
    for reader in readers:
        await reader.pass_on(page.write)

    assert early == [False, False]
    assert page.lines == ["news", "news"]


async def test_lines_that_could_not_be_written_are_read_again() -> None:
    """A console that dies takes none with it: they are for the next."""
    log, page = BootLog(clock=Clock()), Page()
    reader = log.reader()
    log.add("kept")
    page.error = DeviceLost("gone")
    with pytest.raises(DeviceLost):
        await reader.pass_on(page.write)

    page.error = None
    await reader.pass_on(page.write)

    assert page.lines == ["kept"]


async def test_a_slow_reader_is_told_what_it_missed() -> None:
    """The log does not wait for it."""
    log, page = BootLog(kept=2, clock=Clock()), Page()
    reader = log.reader()
    for number in range(5):
        log.add(str(number))

    await reader.pass_on(page.write)

    assert page.lines == ["(3 lines are lost: more than are kept)", "3", "4"]


async def test_a_closed_reader_is_forgotten() -> None:
    """It costs a line nothing any more."""
    log = BootLog(clock=Clock())
    reader = log.reader()

    reader.close()
    log.add("on")

    assert not log._news
