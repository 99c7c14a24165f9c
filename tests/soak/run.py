"""A soak from start to end: rounds of disturbances, rests in which the books are balanced."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import virtmesh_client
from tests.soak.actors.actor import Actor, World
from tests.soak.actors.copier import Copier
from tests.soak.actors.injector import Injector
from tests.soak.actors.reader import Line, Reader
from tests.soak.actors.talker import Talker
from tests.soak.actors.viewer import Viewer
from tests.soak.actors.visitor import Visitor
from tests.soak.actors.writer import Writer
from tests.soak.books import Books, Staff
from tests.soak.gate import Gate
from tests.soak.journal import Journal
from tests.soak.leaks import Judgement, Level, judge, level
from tests.soak.leftovers import leftovers
from tests.soak.machine import Life, machine_file
from tests.soak.monkey import Monkey
from tests.soak.plan import DISKS, INPUTS, ROUND_SECONDS, make_plan
from tests.soak.resources import Sample, sample_all
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.soak.plan import Event
    from tests.support.cli import Cli

REST_SECONDS = 120.0
"""Limit for all clients to come to rest: then who has not hangs."""
SAMPLE_SECONDS = 2.0
PROGRESS_SECONDS = 10.0


@dataclass
class Soak:
    """What is known of a soak while it runs, and in the end."""

    seed: int
    rounds: int
    cli: Cli
    events: tuple[int, int] = (1, 1 << 30)
    """The first and the last event of the plan that are done."""
    round_seconds: float = ROUND_SECONDS
    plan: Sequence[Event] = ()
    """What is done; empty: what the seed says."""
    journal: Journal = field(default_factory=Journal)
    samples: list[Sample] = field(default_factory=list)
    throughput: list[tuple[float, int, int]] = field(default_factory=list)
    """Seconds, operations, and bytes of disks, up to then."""
    judgements: list[Judgement] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    outages: dict[str, list[float]] = field(default_factory=dict)
    balanced: Counter[str] = field(default_factory=Counter)
    writers: list[Writer] = field(default_factory=list)
    finished_rounds: int = 0
    interrupted: bool = False

    @property
    def failed(self) -> bool:
        """True if anything was what it must not be."""
        return bool(self.journal.violations)

    def run(self) -> None:
        """Run; a KeyboardInterrupt ends it early, with what there is."""
        plan = self.plan or make_plan(self.seed, self.rounds, self.round_seconds)
        file = self.cli.folder / "machine.toml"
        file.write_text(machine_file())
        self.cli.up(file)
        try:
            self._with_machine(plan)
        except KeyboardInterrupt:
            self.interrupted = True
        except (VirtmeshError, OSError, LookupError) as error:
            self.journal.violate("soak", f"it could not go on: {error!r}")
        self._stop_machine()
        self._judge()

    def _with_machine(self, plan: Sequence[Event]) -> None:
        world = World(self.cli, self.seed, self.journal, Gate(), self.cli.state.address, Counter())
        staff, actors = hire(world)
        self.writers = staff.writers
        ended = threading.Event()
        sampler = threading.Thread(target=self._sample_always, args=(ended,), daemon=True)
        monkey = Monkey(world)
        self.done, self.hits, self.outages = monkey.done, monkey.hits, monkey.outages
        try:
            with virtmesh_client.connect(world.address) as machine:
                books = Books(world, machine, staff)
                self.balanced = books.balanced
                for one in actors:
                    one.start()
                sampler.start()
                for number in range(self.rounds):
                    self._round(world, monkey, books, [e for e in plan if e.round == number])
                    self.finished_rounds += 1
        finally:
            world.gate.rest(0.0)  # after Ctrl-C there may be work, and faults that last
            monkey.settle()
            world.gate.end()
            deadline = time.monotonic() + REST_SECONDS
            for one in actors:
                if one.ident is not None:
                    one.join(max(0.0, deadline - time.monotonic()))
                if one.is_alive():
                    self.journal.violate(one.name, f"hangs in {one.operation!r} at the end")
            ended.set()
            if sampler.ident is not None:
                sampler.join()
            monkey.close()

    def _round(self, world: World, monkey: Monkey, books: Books, events: list[Event]) -> None:
        books.open()
        monkey.round_hits.clear()
        begin, said = time.monotonic(), 0.0
        world.gate.open()
        while (passed := time.monotonic() - begin) < self.round_seconds:
            if time.monotonic() - said >= PROGRESS_SECONDS:
                said = time.monotonic()
                self._say_progress()
            while events and events[0].at <= passed:
                event = events.pop(0)
                if self.events[0] <= event.number <= self.events[1]:
                    monkey.do(event)
            time.sleep(0.05)
        settled = monkey.settle()
        for name, seconds in world.gate.rest(REST_SECONDS).items():
            self.journal.violate(name, f"hangs since {seconds:.0f} s")
        if settled:
            books.close(monkey.round_hits)
        self.samples += sample_all(self.cli, self.journal.now(), quiet=True)

    def _sample_always(self, ended: threading.Event) -> None:
        while not ended.wait(SAMPLE_SECONDS):
            now = self.journal.now()
            self.samples += sample_all(self.cli, now, quiet=False)
            operations = sum(self.journal.operations.copy().values())
            moved = self.journal.moved["writer"] + self.journal.moved["copier"]
            self.throughput.append((now, operations, moved))

    def _say_progress(self) -> None:
        journal = self.journal
        expected = sum(journal.failed.copy().values()) - journal.unexpected()
        say(
            f"{journal.now():6.0f} s  round {self.finished_rounds + 1} of {self.rounds},"
            f" {sum(journal.operations.copy().values())} operations,"
            f" {len(journal.disturbances)} disturbances, {expected} errors expected,"
            f" {len(journal.violations)} violations"
        )

    def _stop_machine(self) -> None:
        known = {one.life for one in self.samples}
        with contextlib.suppress(LookupError):
            known |= {Life(one.pid, one.start_ticks) for one in self.cli.state.alive}
        down = self.cli("down")
        if down.returncode:
            self.journal.violate("soak", f"`virtmesh down` failed: {down.stderr}")
        for writer in self.writers:
            writer.check_image()
        images = [self.cli.folder / f"{disk}.img" for disk in DISKS]
        for line in leftovers(self.cli.folder, sorted(known), images):
            self.journal.violate("leftovers", line)

    def _judge(self) -> None:
        """Judge memory, descriptors and threads of each life that was long enough."""
        for life in sorted({one.life for one in self.samples}):
            mine = sorted((one for one in self.samples if one.life == life), key=lambda one: one.at)
            self.judgements += judge(mine)
            if found := level(mine):
                self.levels.append(found)
        for judgement in self.judgements:
            if judgement.leaks:
                self.journal.violate("leaks", str(judgement))
        for one in self.levels:
            for line in one.trouble:
                self.journal.violate("leaks", line)


def hire(world: World) -> tuple[Staff, list[Actor]]:
    """Make the actors: those whose accounts are balanced, and all."""
    line = Line()
    writers = [Writer(world, "vda", n) for n in range(3)] + [
        Writer(world, "vdb", n) for n in (0, 1)
    ]
    staff = Staff(
        writers,
        [Injector(world, name) for name in INPUTS],
        Talker(world, "serial"),
        Reader(world, "serial", 0, line),
        Viewer(world, "gpu"),
    )
    others = [
        Copier(world, "vdb"),
        Reader(world, "serial", 1, line),
        Viewer(world, "gpu", 1),
        Visitor(world, "any", 0),
        Visitor(world, "any", 1),
    ]
    mine = [*staff.writers, *staff.injectors, staff.talker, staff.reader, staff.viewer]
    return staff, [*mine, *others]
