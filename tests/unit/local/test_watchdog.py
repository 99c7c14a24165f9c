"""How often a process is asked, and when it is silent."""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.template_rig import find_services, running
from virtmesh.local.child import Child
from virtmesh.local.plan import Command
from virtmesh.local.template.client import Template
from virtmesh.local.watchdog import (
    IDLE_LOOKS,
    KILL_LOOKS,
    SILENT_LOOKS,
    WAITING_LOOKS,
    Seen,
    Watch,
    watch,
)
from virtmesh.machine import WatchdogPolicy
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

IDLE = "import time; time.sleep(600)"
WAITING = "import select; select.epoll().poll(600)"
BUSY = "while True: pass"
SPINNING = """
import asyncio, pathlib, sys
from virtmesh.rpc.loop import run
from virtmesh.rpc.server import Server

async def main(address, flag):
    server = Server([address])
    await server.start([])
    while not flag.exists():
        await asyncio.sleep(0.01)
    while True:
        pass

run(main(sys.argv[2], pathlib.Path(sys.argv[3])))
"""
"""A service that is stuck from when a file is there."""
LOOKS = 4 * IDLE_LOOKS


@pytest.fixture(autouse=True)
def _services(monkeypatch: pytest.MonkeyPatch) -> None:
    find_services(monkeypatch)


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Counts its calls, and refuses them with a code if there is one."""

    def __init__(self) -> None:
        self.calls = 0
        self.code: grpc.StatusCode | None = None

    def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:
        """Answer a call."""
        self.calls += 1
        if self.code is not None:
            context.abort(self.code, "as the test wants it")
        return health_pb2.HealthCheckResponse()


class Watched:
    """A process that is watched, with a health service that the test has."""

    def __init__(self, child: Child, health: Health, address: str) -> None:
        self.child = child
        self.health = health
        self.events: list[str] = []
        self.watch = Watch(child, address, lambda what, _child: self.events.append(what))

    async def look(self, times: int = 1, until: Callable[[], object] = lambda: True) -> None:
        """Look so many times, each when the call before has ended, and something is so."""
        for _ in range(times):
            async with time_limit(30):
                while self.watch.is_asking or not until():  # noqa: ASYNC110 - as it is
                    await asyncio.sleep(0.001)
            self.watch.look()

    async def look_until(self, event: str) -> int:
        """Look until that is told; returns how often."""
        looks = 0
        async with time_limit(30):
            while event not in self.events:
                await self.look()
                looks += 1
        return looks

    def works(self) -> Callable[[], bool]:
        """Return what says that the process has used the processor since it said so last."""
        last = [self._seconds()]

        def has_worked() -> bool:
            now = self._seconds()
            if now == last[0]:
                return False
            last[0] = now
            return True

        return has_worked

    def _seconds(self) -> float:
        seen = Seen.of(self.child.pid)
        assert seen is not None
        return seen.seconds


@contextmanager
def watched(
    folder: Path, script: str, policy: WatchdogPolicy = WatchdogPolicy.REPORT
) -> Iterator[Watched]:
    """Make a process that runs a script, not started yet, and a health service beside it."""
    health = Health()
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    address = f"unix:{folder}/health.sock"
    server.add_insecure_port(address)
    server.start()
    command = replace(Command("vda", "blk", running(script), address), watchdog=policy)
    with Template() as template:
        child = Child(command, folder, template)
        child.begin_log()
        made = Watched(child, health, address)
        try:
            yield made
        finally:
            made.watch.close()
            child.kill()
            server.stop(None)


async def test_an_idle_process_is_asked_at_one_look_of_several(tmp_path: Path) -> None:
    """Its loop has done nothing that it could be stuck in."""
    with watched(tmp_path, IDLE) as one:
        await one.child.start()
        await one.look(LOOKS)
        assert 1 <= one.health.calls <= LOOKS // IDLE_LOOKS + 3
        assert one.events == []


async def test_a_process_that_waits_for_events_is_asked_rarely(tmp_path: Path) -> None:
    """It hears what comes; one that sleeps elsewhere may be stuck there."""
    with watched(tmp_path, WAITING) as one:
        await one.child.start()
        await one.look(3, until=lambda: Seen.waits(one.child.pid))
        before = one.health.calls

        await one.look(WAITING_LOOKS - 3)
        assert one.health.calls == before
        await one.look(4)
        assert one.health.calls == before + 1


async def test_a_busy_process_is_asked_at_each_look(tmp_path: Path) -> None:
    """And no more often than that."""
    with watched(tmp_path, BUSY) as one:
        await one.child.start()
        await one.look(LOOKS, until=one.works())
        await one.look()
        assert LOOKS <= one.health.calls <= LOOKS + 1


async def test_what_is_refused_is_an_answer(tmp_path: Path) -> None:
    """A service under attack that refuses is not silent; one that nobody can reach is."""
    with watched(tmp_path, BUSY) as one:
        await one.child.start()
        await one.look(3, until=one.works())
        one.health.code = grpc.StatusCode.RESOURCE_EXHAUSTED
        await one.look(SILENT_LOOKS + 3, until=one.works())
        assert one.events == []

        one.health.code = grpc.StatusCode.UNAVAILABLE
        await one.look(SILENT_LOOKS + 1, until=one.works())
        assert one.events == ["silent"]
        assert "its event loop" in one.child.silent

        one.health.code = None
        await one.look(3, until=one.works())
        assert one.events == ["silent", "answers"]
        assert one.child.silent == ""


async def test_what_has_never_answered_is_being_started(tmp_path: Path) -> None:
    """It may take as long as it likes, unless a signal has stopped it."""
    with watched(tmp_path, BUSY, WatchdogPolicy.RESTART) as one:
        one.health.code = grpc.StatusCode.UNAVAILABLE
        await one.child.start()
        await one.look(KILL_LOOKS + 3, until=one.works())
        assert one.events == []


async def test_a_process_that_is_silent_for_long_is_killed_once(tmp_path: Path) -> None:
    """If that is its policy. For how long it was of use is counted until it fell silent."""
    with watched(tmp_path, IDLE, WatchdogPolicy.RESTART) as one:
        await one.child.start()
        await one.look(2)
        one.health.code = grpc.StatusCode.UNAVAILABLE
        os.kill(one.child.pid, signal.SIGSTOP)
        await one.look_until("silent")
        lasted = one.child.lasted

        assert await one.look_until("killed") == KILL_LOOKS - SILENT_LOOKS

        await one.look(KILL_LOOKS)
        assert await one.child.wait() == -signal.SIGKILL
        assert one.events == ["silent", "killed"]
        assert one.child.lasted == lasted
        await one.child.start(again=True)
        assert one.child.silent == ""


async def test_a_service_with_an_event_loop_that_spins_is_silent(tmp_path: Path) -> None:
    """It says how much of a processor that takes."""
    flag, address = tmp_path / "flag", f"unix:{tmp_path}/device.sock"
    events: list[str] = []
    with Template() as template:
        child = Child(
            Command("vda", "blk", running(SPINNING, address, str(flag)), address),
            tmp_path,
            template,
        )
        child.begin_log()
        await child.start()
        one = Watch(child, address, lambda what, _child: events.append(what))
        watching = asyncio.create_task(watch([one]))
        try:
            async with time_limit(60):
                while not one.has_answered:  # noqa: ASYNC110 - it is told by the watch
                    await asyncio.sleep(0.01)
                assert events == []
                flag.touch()
                while not events:  # noqa: ASYNC110 - it is told by the watch
                    await asyncio.sleep(0.01)
        finally:
            watching.cancel()
            child.kill()
    assert events == ["silent"]
    assert "its event loop is busy, and takes" in child.silent
