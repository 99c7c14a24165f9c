"""Which states a power loss may leave: all that are legal, and no other."""

from __future__ import annotations

import random
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.support.write_logs import SECTOR, LogMaker
from virtmesh_client.powerloss.images import Images
from virtmesh_client.powerloss.log import read_log
from virtmesh_client.powerloss.sources import Data, Sources
from virtmesh_client.powerloss.states import Choice, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from virtmesh_client.powerloss.log import Write, WriteLog
    from virtmesh_client.powerloss.states import State

SECTORS = 4
ALL = Choice(seed=1, exhaustive=1 << 20, samples=2, limit=1 << 24, tear=SECTOR)


def sector(letter: str) -> bytes:
    """Return a sector of a letter."""
    return letter.encode() * SECTOR


def base_of(folder: Path, sectors: int = SECTORS) -> Path:
    """Make a disk of dots."""
    path = folder / "base.img"
    path.write_bytes(sector(".") * sectors)
    return path


def images_of(log: WriteLog, base: Path, folder: Path, choice: Choice = ALL) -> set[str]:
    """Return what each state that is tried has, as a letter for each sector."""
    return {text for text, _, _ in made(log, base, folder, choice)}


def made(
    log: WriteLog, base: Path, folder: Path, choice: Choice = ALL
) -> Iterator[tuple[str, State, int]]:
    """Make each state: its letters, itself, and the number that stands for its image."""
    room = folder / "room"
    room.mkdir(exist_ok=True)
    size = base.stat().st_size
    durable, window = Sources(), -1
    with log.path.open("rb", buffering=0) as file:
        data = Data(file.fileno())
        images = Images(base, room, size, data)
        for state in Plan(log, choice).states():
            if state.window.number != window:
                window = state.window.number
                images.settle(state.window.settled)
                durable.add(state.window.settled, data)
            images.make(state.pieces)
            content = images.path.read_bytes()
            assert all(len(set(content[at : at + SECTOR])) == 1 for at in range(0, size, SECTOR))
            text = content[::SECTOR].replace(b"\0", b"0").decode()
            yield text, state, durable.with_pieces(state.pieces, data)


def legal(log: WriteLog, letters: dict[int, str], sectors: int = SECTORS) -> set[str]:
    """Return what is legal at any time, sector by sector, by the words of the contract alone.

    A sector has the data of a write that was submitted, or what it had before. It does not have
    what a durable write has overwritten that was submitted after the end of that.
    """
    found: set[str] = set()
    for time in range(max([2, *(one.ended for one in log.writes)], default=2) + 20):
        durable = [one for one in log.writes if is_durable(log, one, time)]
        choices = []
        for place in range(sectors):
            here = [one for one in log.writes if one.sector <= place < one.end]
            hard = [one for one in here if one in durable]
            possible = {
                letters[one.number]
                for one in here
                if one.begun < time and not any(one.ended < other.begun for other in hard)
            }
            choices.append(sorted(possible | (set() if hard else {"."})))
        found |= {"".join(one) for one in product(*choices)}
    return found


def is_durable(log: WriteLog, write: Write, time: int) -> bool:
    """Say whether a write is durable at a time."""
    flushed = any(one.ended < time and write.ended < one.begun for one in log.flushes)
    return not write.is_failed and (flushed or (write.is_fua and write.ended < time))


def test_what_was_completed_before_a_flush_was_submitted_is_there_after_it(
    tmp_path: Path,
) -> None:
    """Before its end any of it may be; after its end all of it is."""
    maker = LogMaker(SECTORS)
    maker.write(0, sector("a"))
    maker.write(1, sector("b"))
    maker.flush()
    maker.write(2, sector("c"))
    base = base_of(tmp_path)
    log = read_log(maker.save(tmp_path / "log", base))

    assert images_of(log, base, tmp_path) == {"....", "a...", ".b..", "ab..", "abc."}


def test_a_write_that_was_under_way_when_a_flush_was_submitted_is_not_covered(
    tmp_path: Path,
) -> None:
    """Though it ended before the flush did, and stands behind it in the log."""
    maker = LogMaker(SECTORS)
    maker.write(0, sector("a"))
    submitted = maker.tick()
    flush = maker.begin_flush()
    maker.write(1, sector("b"), submitted)
    maker.end_flush(flush)
    base = base_of(tmp_path)
    log = read_log(maker.save(tmp_path / "log", base))

    assert images_of(log, base, tmp_path) == {"....", "a...", ".b..", "ab.."}


def test_before_a_flush_has_ended_it_promises_nothing(tmp_path: Path) -> None:
    """A write that a driver submits without waiting for it may be there alone."""
    maker = LogMaker(SECTORS)
    maker.write(0, sector("a"))
    maker.begin_flush()
    maker.write(1, sector("b"))
    base = base_of(tmp_path)
    log = read_log(maker.save(tmp_path / "log", base))

    assert ".b.." in images_of(log, base, tmp_path)


def test_a_write_is_torn_at_each_sector_or_at_larger_units(tmp_path: Path) -> None:
    """Any part of it may be there, and in units of two sectors any half."""
    maker = LogMaker(SECTORS)
    maker.write(0, sector("a") * 4)
    base = base_of(tmp_path)
    log = read_log(maker.save(tmp_path / "log", base))

    assert len(images_of(log, base, tmp_path)) == 16
    halves = Choice(1, 256, 2, 1000, 2 * SECTOR)
    assert images_of(log, base, tmp_path, halves) == {"....", "aa..", "..aa", "aaaa"}
    assert images_of(log, base, tmp_path, Choice(1, 256, 2, 1000, 0)) == {"....", "aaaa"}


def test_writes_that_overlap_come_in_the_orders_that_they_may_have_come_in(
    tmp_path: Path,
) -> None:
    """One after the other: in that order. At the same time: in either."""
    whole = Choice(1, 256, 2, 1000, 0)
    base = base_of(tmp_path)
    later = LogMaker(SECTORS)
    later.write(0, sector("a") * 2)
    later.write(1, sector("b") * 2)
    log = read_log(later.save(tmp_path / "log", base))
    assert images_of(log, base, tmp_path, whole) == {"....", "aa..", ".bb.", "abb."}

    both = LogMaker(SECTORS)
    begun = both.tick()
    both.write(1, sector("b") * 2, both.tick())
    both.write(0, sector("a") * 2, begun)
    log = read_log(both.save(tmp_path / "log", base))
    assert images_of(log, base, tmp_path, whole) == {"....", "aa..", ".bb.", "abb.", "aab."}


def test_marks_are_told_to_states_after_them_alone(tmp_path: Path) -> None:
    """A promise that a mark makes is for what comes later."""
    maker = LogMaker(SECTORS)
    maker.write(0, sector("a"))
    maker.flush()
    maker.mark("one")
    maker.write(1, sector("b"))
    base = base_of(tmp_path)
    log = read_log(maker.save(tmp_path / "log", base))

    found = {(text, state.window.mark) for text, state, _ in made(log, base, tmp_path)}

    assert found == {("....", ""), ("a...", ""), ("a...", "one"), ("ab..", "one")}


def test_a_sector_for_marks_changes_nothing(tmp_path: Path) -> None:
    """What a guest writes there is a mark of the time of its submission."""
    maker = LogMaker(SECTORS)
    maker.write(0, sector("a"))
    maker.flush()
    maker.write(3, b"synced 1".ljust(SECTOR, b"\0"))
    base = base_of(tmp_path)
    log = read_log(maker.save(tmp_path / "log", base), mark_sector=3)

    assert [one.text for one in log.marks] == ["synced 1"]
    assert images_of(log, base, tmp_path) == {"....", "a..."}


def random_log(seed: int) -> tuple[LogMaker, dict[int, str]]:
    """Make a log with overlapping and concurrent requests, by chance; with its letters."""
    chance = random.Random(seed)  # noqa: S311 - it is to be repeated
    maker, letters = LogMaker(SECTORS), {}
    writes: list[tuple[int, int, int, int]] = []
    flushes: list[int] = []
    names = iter("abcdefghijklmnop")
    for _ in range(chance.randint(3, 9)):
        event = chance.randrange(6)
        if event < 2:
            start = chance.randrange(SECTORS)
            length = chance.randint(1, SECTORS - start)
            flags, extra = chance.choice([(0, 0), (0, 0), (0, 0), (0, 2)])
            writes.append((maker.tick(), start, length, flags | extra << 8))
        elif event < 4 and writes:
            begun, start, length, kind = writes.pop(chance.randrange(len(writes)))
            letter = next(names)
            letters[len(maker.entries)] = letter
            maker.write(start, sector(letter) * length, begun, flags=kind & 255, extra=kind >> 8)
        elif event == 4:
            flushes.append(maker.begin_flush())
        elif flushes:
            maker.end_flush(flushes.pop(chance.randrange(len(flushes))))
    return maker, letters


@pytest.mark.parametrize("seed", range(40))
def test_all_that_is_legal_is_tried_and_nothing_else(tmp_path: Path, seed: int) -> None:
    """Against a model of the contract that looks at each sector and each time for itself."""
    maker, letters = random_log(seed)
    base = base_of(tmp_path)
    log = read_log(maker.save(tmp_path / "log", base))

    assert images_of(log, base, tmp_path) == legal(log, letters)


@pytest.mark.parametrize("seed", range(20))
def test_states_by_chance_are_legal_too(tmp_path: Path, seed: int) -> None:
    """Where not all are tried."""
    maker, letters = random_log(seed)
    base = base_of(tmp_path)
    log = read_log(maker.save(tmp_path / "log", base))

    assert images_of(log, base, tmp_path, Choice(seed, 0, 30, 1000, SECTOR)) <= legal(log, letters)


@pytest.mark.parametrize("seed", range(20))
def test_images_are_the_same_exactly_if_their_numbers_are(tmp_path: Path, seed: int) -> None:
    """So an image is not checked twice, and none is left out."""
    maker, _ = random_log(seed)
    base = base_of(tmp_path)
    log = read_log(maker.save(tmp_path / "log", base))
    texts: dict[int, str] = {}
    for text, _, identity in made(log, base, tmp_path):
        assert texts.setdefault(identity, text) == text
    assert len(texts) == len(set(texts.values()))


def test_a_log_of_dm_log_writes_is_read_in_its_order(tmp_path: Path) -> None:
    """With FLUSH and FUA as flags of a write, and no times."""
    maker = LogMaker(SECTORS, is_own=False)
    maker.write(0, sector("a"))
    maker.write(1, sector("b"), flags=1 | 2)
    maker.write(2, sector("c"))
    maker.discard(1, 1)
    base = base_of(tmp_path)
    log = read_log(maker.save(tmp_path / "log", base))

    found = images_of(log, base, tmp_path)

    assert found == {"....", "a...", "ab..", "abc.", "a0..", "a0c."}


def test_a_number_is_the_same_state_each_time_and_the_limit_holds(tmp_path: Path) -> None:
    """Whether it is asked for alone or comes in its turn."""
    maker = LogMaker(64)
    for index in range(40):
        maker.write(index, sector("a") * 8)
        if index % 10 == 9:
            maker.flush()
    base = base_of(tmp_path, 64)
    log = read_log(maker.save(tmp_path / "log", base))
    plan = Plan(log, Choice(7, 16, 10, 30, SECTOR))

    states = list(plan.states())

    assert len(states) == len(plan) <= 30
    for state in states:
        (again,) = plan.states(only=state.number)
        assert again.describe() == state.describe()
        assert again.window.number == state.window.number
