"""The log file of a process, over its starts and the runs of its machine."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.template_rig import find_services, running
from virtmesh.local.child import Child
from virtmesh.local.log_bound import LIMIT_BYTES, bound
from virtmesh.local.plan import Command
from virtmesh.local.template.client import Template
from virtmesh_client.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _services(monkeypatch: pytest.MonkeyPatch) -> None:
    find_services(monkeypatch)


@contextmanager
def child_of(folder: Path, script: str) -> Iterator[Child]:
    """Make a child that runs a script, and its template."""
    with Template() as template:
        yield Child(Command("vda", "blk", running(script), ""), folder, template)


async def test_the_last_line_is_of_the_last_start(tmp_path: Path) -> None:
    """Not of the process before, which had another reason to end."""
    script = (
        "import pathlib\n"
        f"flag = pathlib.Path({str(tmp_path / 'flag')!r})\n"
        "if not flag.exists():\n"
        "    flag.touch()\n"
        "    print('the disk is locked')\n"
    )
    with child_of(tmp_path, script) as child:
        child.begin_log()
        await child.start()
        await child.wait()
        assert child.last_line() == "the disk is locked"
        await child.start(again=True)
        await child.wait()
        assert child.last_line() == "it wrote nothing"


def test_a_run_begins_an_empty_log_and_keeps_the_one_before(tmp_path: Path) -> None:
    """One of them: the folder does not grow without end."""
    with child_of(tmp_path, "") as child:
        for text in ("first", "second", "third"):
            child.begin_log()
            assert child.log.read_text() == ""
            child.log.write_text(text)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vda.log", "vda.log.1"]
    assert (tmp_path / "vda.log.1").read_text() == "second"


async def test_a_log_does_not_grow_without_end(tmp_path: Path) -> None:
    """The process goes on writing to it, and the end of what it held is kept."""
    script = (
        "import sys\n"
        "for letter in 'abc':\n"
        f"    sys.stdout.write(letter * {LIMIT_BYTES - 2} + '\\n')\n"
        "    sys.stdout.flush()\n"
        f"    open({str(tmp_path)!r} + '/' + letter).read()\n"
        "print('the end')\n"
    )
    for letter in "abc":
        os.mkfifo(tmp_path / letter)
    sizes = []
    with child_of(tmp_path, script) as child:
        child.begin_log()
        await child.start()
        for letter in "abc":  # the process waits for us at each
            with await asyncio.to_thread((tmp_path / letter).open, "wb"):
                child.bound_log()
                sizes.append(child.log.stat().st_size)
        await child.wait()
        assert child.last_line() == "the end"

    assert sizes == [LIMIT_BYTES - 1, 0, LIMIT_BYTES - 1]
    kept = (tmp_path / "vda.log.1").read_bytes()
    assert (len(kept), kept[:2], kept[-2:]) == (LIMIT_BYTES, b"\nb", b"b\n")
    assert (tmp_path / "vda.log.1").stat().st_mode & 0o777 == 0o600


def test_a_log_is_bounded_where_there_is_no_room_for_what_it_held(tmp_path: Path) -> None:
    """Then that is lost."""
    log = tmp_path / "vda.log"
    log.write_bytes(b"x" * 100)
    (tmp_path / "vda.log.1").mkdir()  # so that no file can be made there
    assert bound(log, limit=99)
    assert log.read_bytes() == b""


def test_a_log_that_is_begun_anew_is_followed_from_its_start(tmp_path: Path) -> None:
    """Lines are neither repeated nor left out."""
    path = tmp_path / "vda.log"
    tail = Tail("vda", path)
    path.write_text("a long line of the run before\nits end with")
    assert tail.lines() == ["a long line of the run before"]
    path.write_text("new\n")
    assert tail.lines() == ["new"]
    assert tail.lines() == []
