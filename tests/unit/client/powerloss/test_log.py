"""Reading logs of writes: what others made of them, and errors that say what to do."""

from __future__ import annotations

import os
import random
import struct
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.write_logs import SECTOR, LogMaker
from virtmesh_client.powerloss import PowerLossOptions, check_power_loss, read_log
from virtmesh_client.powerloss.states import Plan
from virtmesh_common.blk.errors import BadWriteLog

if TYPE_CHECKING:
    from pathlib import Path

SECTORS = 8


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Make a disk."""
    path = tmp_path / "base.img"
    path.write_bytes(os.urandom(SECTORS * SECTOR))
    return path


@pytest.fixture
def log(tmp_path: Path, base: Path) -> Path:
    """Make a log of three writes."""
    maker = LogMaker(SECTORS)
    for index in range(3):
        maker.write(index, bytes([index + 1]) * SECTOR)
    maker.flush()
    return maker.save(tmp_path / "disk.log", base)


def patch(log: Path, offset: int, data: bytes) -> None:
    """Change bytes of a log."""
    with log.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def refusal(log: Path) -> str:
    """Return why a log is refused."""
    with pytest.raises(BadWriteLog) as caught:
        read_log(log)
    return str(caught.value)


def test_a_file_that_is_no_log_is_refused(tmp_path: Path, base: Path) -> None:
    """An image, an empty file, a folder, a pipe."""
    assert "not a log of writes" in refusal(base)
    empty = tmp_path / "empty"
    empty.touch()
    assert "too short" in refusal(empty)
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in refusal(tmp_path / "pipe")
    assert "not a file" in refusal(tmp_path)


def test_a_log_that_was_cut_off_names_the_option_that_takes_its_beginning(log: Path) -> None:
    """The entries before are read with it."""
    os.truncate(log, SECTOR * 5 + 100)
    assert "cut off in entry 2 of 5" in refusal(log)
    assert "--entries 2" in refusal(log)
    assert len(read_log(log, entries=2).writes) == 2


def test_numbers_of_a_hostile_log_take_neither_memory_nor_time(log: Path) -> None:
    """Each is bounded by the file, the disk or a limit."""
    patch(log, 16, struct.pack("<Q", 1 << 60))
    assert "at most are read" in refusal(log)
    patch(log, 16, struct.pack("<Q", 4))
    patch(log, SECTOR + 8, struct.pack("<Q", 1 << 50))
    assert "cut off in entry 0" in refusal(log)
    patch(log, SECTOR + 8, struct.pack("<QQ", 1 << 50, 4))
    assert "past the end of its disk" in refusal(log)
    patch(log, SECTOR + 8, struct.pack("<QQ", 1, 1 << 40))
    assert "entry 0 is none" in refusal(log)
    patch(log, SECTOR + 16, struct.pack("<Q", 0))
    patch(log, SECTOR + 448 + 8, struct.pack("<QQ", 9, 3))
    assert "ends before it begins" in refusal(log)


def test_garbage_ends_in_an_error_or_a_plan(log: Path) -> None:
    """Any byte of the descriptions may be anything."""
    good = log.read_bytes()
    chance = random.Random(5)  # noqa: S311 - it is to be repeated
    for _ in range(300):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(4) * SECTOR * 2 + chance.choice([0, 8, 16, 24, 456, 464, 472])
            bad[(place + chance.randrange(8)) % len(bad)] = chance.randrange(256)
        log.write_bytes(bad)
        try:
            read = read_log(log)
        except BadWriteLog:
            continue
        plan = Plan(read, PowerLossOptions(seed=1, limit=20).choice(read))
        assert len(list(plan.states())) == len(plan) <= 20


def test_the_log_of_another_image_is_refused(log: Path, base: Path) -> None:
    """By its size, and by what it held."""
    changed = base.read_bytes()
    base.write_bytes(bytes([changed[0] ^ 1]) + changed[1:])
    with pytest.raises(BadWriteLog, match="not what the disk held when"):
        check_power_loss(log, base, ["true"])
    base.write_bytes(changed + bytes(SECTOR))
    with pytest.raises(BadWriteLog, match=r"of 4096 bytes, and .* has 4608"):
        check_power_loss(log, base, ["true"])


@pytest.mark.parametrize(
    ("text", "mark"), [("imp\0orted", "imp"), ("a=b\n\x1b[2J", "a=b\n\x1b[2J")]
)
def test_a_checker_can_be_told_of_any_mark(
    tmp_path: Path, base: Path, text: str, mark: str
) -> None:
    """Its environment has it: what others put into a log must not keep it from running."""
    maker = LogMaker(SECTORS)
    maker.mark(text)
    maker.write(0, bytes(SECTOR))
    path = maker.save(tmp_path / "disk.log", base)
    program = "import os, sys; sys.exit(bool(os.environ['VIRTMESH_MARK']))"
    report = check_power_loss(path, base, (sys.executable, "-c", program), PowerLossOptions(seed=1))
    assert {one.mark for one in report.violations} == {mark}
