"""Checking what power losses leave: each state is made, and a command judges it."""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_client.powerloss.base import check_base
from virtmesh_client.powerloss.checker import Checker, Verdict
from virtmesh_client.powerloss.images import Images
from virtmesh_client.powerloss.log import read_log
from virtmesh_client.powerloss.report import PowerLossReport, Violation
from virtmesh_client.powerloss.sources import Data, Sources
from virtmesh_client.powerloss.states import Choice, Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from virtmesh_client.powerloss.log import WriteLog
    from virtmesh_client.powerloss.states import State
    from virtmesh_client.powerloss.windows import Window

KEPT = 100
"""Violations that are described; more are counted."""


@dataclass(frozen=True, kw_only=True)
class PowerLossOptions:
    """How power losses are checked. A state has the same number while these are the same."""

    seed: int | None = None
    """Of what is chosen by chance; None chooses one."""
    exhaustive: int = 256
    """A crash point with at most so many states is tried whole."""
    samples: int = 32
    """States by chance of one with more."""
    limit: int = 2000
    """Most states of all crash points."""
    tear: int | str = "sector"
    """Unit in which writes are torn: "sector", "block", "none", or bytes."""
    mark_sector: int | None = None
    """Writes that begin at this sector are marks."""
    entries: int | None = None
    """Of the log, the first ones only."""

    def choice(self, log: WriteLog) -> Choice:
        """Return which states are tried. Errors: ValueError."""
        words = {"sector": 512, "block": log.block_size, "none": 0}
        tear = words.get(self.tear, self.tear) if isinstance(self.tear, str) else self.tear
        if not isinstance(tear, int) or tear % 512 or tear < 0:
            raise ValueError(f"tear: {self.tear!r} is not sector, block, none or a multiple of 512")
        seed = secrets.randbits(32) if self.seed is None else self.seed
        return Choice(seed, self.exhaustive, self.samples, max(self.limit, 1), tear)


@dataclass
class _Work:
    """What the threads of a check share."""

    todo: queue.Queue[tuple[State, str] | None]
    windows: list[Window] = field(default_factory=list)
    """Those whose states were given out, in their order."""
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    violations: list[Violation] = field(default_factory=list)
    violation_count: int = 0
    error: BaseException | None = None


def check_power_loss(  # noqa: PLR0913 - each has its name
    log: Path | str,
    image: Path | str,
    checker: Sequence[str],
    options: PowerLossOptions | None = None,
    *,
    jobs: int | None = None,
    deadline: float = 60.0,
    folder: Path | str | None = None,
    first_only: bool = False,
    progress: Callable[[int, int, int], None] | None = None,
) -> PowerLossReport:
    """Try states that a power loss may leave, and have a command judge each.

    `image` is a copy of the disk from before the recording. In the command `{}` stands for the
    image of a state; VIRTMESH_IMAGE names it too, VIRTMESH_MARK the last mark, VIRTMESH_STATE the
    number. It may change its image. One that takes longer than `deadline` seconds is ended, and
    its state refused. `jobs` are run at a time; None: one for each processor. Images are in
    `folder`, or where temporary files are. With `first_only` it ends after a violation.
    `progress` is called with the states tried, all of them, and the violations so far. Errors:
    BadWriteLog for what is no log, or not of that image; CheckerFailed; OSError; ValueError.
    """
    began = time.monotonic()
    options = options or PowerLossOptions()
    read = read_log(Path(log), entries=options.entries, mark_sector=options.mark_sector)
    capacity = check_base(read, Path(image))
    choice = options.choice(read)
    work = _Work(queue.Queue(64))
    command = Checker(checker, deadline, work.stop)
    plan = Plan(read, choice)
    count = jobs or os.cpu_count() or 1
    with _room(folder) as place, Path(log).open("rb", buffering=0) as file:
        data = Data(file.fileno())
        base_status = _check_base_itself(command, Path(image), place, capacity, data)
        workers = [
            threading.Thread(
                target=_serve,
                args=(work, command, Path(image), place / f"{index}", capacity, data),
                kwargs={"first_only": first_only},
                name=f"powerloss-{index}",
            )
            for index in range(count)
        ]
        for worker in workers:
            worker.start()
        try:
            tried, distinct, checks = _feed(work, plan, data, progress)
        except BaseException:
            work.stop.set()
            raise
        finally:
            _end(work, workers)
    if work.error is not None:
        raise work.error
    return PowerLossReport(
        log=str(log),
        image=str(image),
        seed=choice.seed,
        entries=read.entries,
        writes=len(read.writes),
        flushes=len(read.flushes),
        marks=len(read.marks),
        runs=read.runs,
        windows=plan.windows,
        exhaustive_windows=plan.exhaustive,
        states=tried,
        distinct_states=distinct,
        checks=checks,
        violation_count=work.violation_count,
        violations=tuple(sorted(work.violations, key=lambda one: one.state)),
        base_status=base_status,
        seconds=time.monotonic() - began,
    )


def build_state(
    log: Path | str,
    image: Path | str,
    number: int,
    output: Path | str,
    options: PowerLossOptions,
) -> State:
    """Make the image of one state, by its number; returns what is in it.

    Errors: those of `check_power_loss`; ValueError for a number that no state has.
    """
    read = read_log(Path(log), entries=options.entries, mark_sector=options.mark_sector)
    capacity = check_base(read, Path(image))
    plan = Plan(read, options.choice(read))
    if not 0 <= number < len(plan):
        raise ValueError(f"state {number}: there are {len(plan)}, from 0 on")
    state = next(plan.states(only=number))
    with _room(Path(output).absolute().parent) as place, Path(log).open("rb", buffering=0) as file:
        images = Images(Path(image), place, capacity, Data(file.fileno()))
        images.settle(state.window.settled)
        images.make(state.pieces)
        images.path.replace(output)
    return state


@contextlib.contextmanager
def _room(folder: Path | str | None) -> Iterator[Path]:
    """Make a folder for images, and remove it in the end."""
    with tempfile.TemporaryDirectory(prefix="virtmesh-powerloss-", dir=folder) as name:
        yield Path(name)


def _check_base_itself(
    command: Checker, image: Path, place: Path, capacity: int, data: Data
) -> int | None:
    """Have the checker judge the base; returns its exit status."""
    room = place / "base"
    room.mkdir()
    images = Images(image, room, capacity, data)
    images.make(())
    verdict = command.run(str(images.path), {"VIRTMESH_MARK": "", "VIRTMESH_STATE": "base"})
    return verdict.status if verdict else None


def _feed(
    work: _Work, plan: Plan, data: Data, progress: Callable[[int, int, int], None] | None
) -> tuple[int, int, int]:
    """Give out each image and mark once; returns numbers of states, images, and checks."""
    durable = Sources()
    images: set[int] = set()
    seen: set[tuple[int, str]] = set()
    tried, window = 0, -1
    for state in plan.states():
        if state.window.number != window:
            window = state.window.number
            durable.add(state.window.settled, data)
            work.windows.append(state.window)
        identity = durable.with_pieces(state.pieces, data)
        images.add(identity)
        key = (identity, state.window.mark)
        tried += 1
        if key not in seen:
            seen.add(key)
            if not _put(work, (state, state.window.mark)):
                break
        if progress is not None:
            progress(tried, len(plan), work.violation_count)
    return tried, len(images), len(seen)


def _put(work: _Work, one: tuple[State, str] | None) -> bool:
    """Add to what is to be done. False if nobody does it any more."""
    while not work.stop.is_set():
        with contextlib.suppress(queue.Full):
            work.todo.put(one, timeout=0.1)
            return True
    return False


def _end(work: _Work, workers: Sequence[threading.Thread]) -> None:
    """Wait for the threads."""
    for _ in workers:
        _put(work, None)
    for worker in workers:
        worker.join()


def _serve(  # noqa: PLR0913, PLR0917 - what a thread needs
    work: _Work,
    command: Checker,
    base: Path,
    room: Path,
    capacity: int,
    data: Data,
    *,
    first_only: bool,
) -> None:
    """Check states until there are no more."""
    try:
        room.mkdir()
        images = Images(base, room, capacity, data)
        settled = 0
        while not work.stop.is_set():
            try:
                one = work.todo.get(timeout=0.1)
            except queue.Empty:
                continue
            if one is None:
                return
            state, mark = one
            while (
                settled < len(work.windows) and work.windows[settled].number <= state.window.number
            ):
                images.settle(work.windows[settled].settled)
                settled += 1
            images.make(state.pieces)
            facts = {"VIRTMESH_MARK": mark, "VIRTMESH_STATE": str(state.number)}
            verdict = command.run(str(images.path), facts)
            images.end_check()
            if verdict is not None:
                _note(work, state, verdict, first_only=first_only)
    except BaseException as error:  # noqa: BLE001 - the caller raises it
        work.error = work.error or error
        work.stop.set()


def _note(work: _Work, state: State, verdict: Verdict, *, first_only: bool) -> None:
    """Take note of a verdict."""
    with work.lock:
        if verdict.status == 0:
            return
        work.violation_count += 1
        if len(work.violations) < KEPT:
            work.violations.append(
                Violation(
                    state=state.number,
                    window=state.window.number,
                    mark=state.window.mark,
                    writes=tuple(state.describe()),
                    exit_status=verdict.status,
                    output=verdict.output,
                )
            )
        if first_only:
            work.stop.set()
