"""Does what the plan says: each event on a thread of its own, one at a time for a device."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import traceback
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import virtmesh_client
from tests.soak.machine import lives, send_signal
from tests.soak.plan import DEVICES
from virtmesh.local.restarts import QUICK_MAX, QUICK_SECONDS
from virtmesh_client.local import rundir
from virtmesh_client.local.control import restart_process
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.soak.actors.actor import World
    from tests.soak.journal import Disturbance
    from tests.soak.machine import Life
    from tests.soak.plan import Event

BACK_SECONDS = 60.0
"""Limit for a process to work again: the watchdog takes ten of them to end one that is stopped."""
LOOK_SECONDS = 0.01
MENDED_BY_RESET = ("lost-interrupt", "lost-notification", "stuck-queue")
"""Faults after which a driver waits until somebody resets its device (docs/faults.md)."""


class Monkey:
    """Disturbs the machine."""

    def __init__(self, world: World) -> None:
        self.done: Counter[str] = Counter()
        """Events by action, or by kind of fault, and what became of those that could not be."""
        self.hits: Counter[str] = Counter()
        """Events that faults took, by kind."""
        self.round_hits: Counter[tuple[str, str]] = Counter()
        """The same for the present round, by device and kind."""
        self.outages: dict[str, list[float]] = defaultdict(list)
        """Seconds that processes were away, by what was done and to whom."""
        self._world = world
        self._machine = virtmesh_client.connect(world.address)
        self._one_at_a_time = {name: threading.Lock() for name in (*DEVICES, "kernel")}
        self._quick: Counter[str] = Counter()
        """Deaths in a row soon after a start, by process."""
        self._back: dict[str, float] = {}
        """When processes came back last."""
        self._threads: list[threading.Thread] = []

    def do(self, event: Event) -> None:
        """Begin an event."""
        thread = threading.Thread(target=self._run, args=(event,), name=str(event), daemon=True)
        self._threads.append(thread)
        thread.start()

    def settle(self) -> bool:
        """Wait until all events are over, and every device is ready; return whether they are."""
        deadline = time.monotonic() + 2 * BACK_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._world.journal.violate("monkey", f"{thread.name} does not end")
        self._threads.clear()
        while not self._all_ready():
            if time.monotonic() > deadline:
                states = ", ".join(self._states())
                self._world.journal.violate("monkey", f"not all devices are ready again: {states}")
                return False
            time.sleep(0.05)
        return True

    def close(self) -> None:
        """Close the connection."""
        self._machine.close()

    def _run(self, event: Event) -> None:
        try:
            with self._one_at_a_time[event.device]:
                if event.action == "fault":
                    self._fault(event)
                elif event.action == "reset":
                    self._call(event, lambda: self._machine.reset(event.device))
                else:
                    self._end_process(event)
        except Exception:  # noqa: BLE001 - a fault of the soak itself is told as well
            self._world.journal.violate("monkey", f"{event}: {traceback.format_exc()}")

    def _fault(self, event: Event) -> None:
        """Order a fault, and take it back after its time."""
        journal = self._world.journal
        kind = event.words.split()[0]
        disturbance = journal.disturb(event.number, kind, event.device, event.words)
        faults = self._machine.faults(event.device)
        try:
            fault = faults.add(event.words)
        except VirtmeshError as error:
            self._excuse(event, disturbance, "order", error)
            return
        self.done[kind] += 1
        self._world.gate.sleep(event.lasts)
        try:
            (cleared,) = faults.clear([fault.number])
        except VirtmeshError as error:
            self._excuse(event, disturbance, "clear", error)
        else:
            disturbance.hits = cleared.hits
            self.hits[kind] += cleared.hits
            self.round_hits[event.device, kind] += cleared.hits
        if kind in MENDED_BY_RESET:
            with contextlib.suppress(VirtmeshError):  # it is away, or was away meanwhile
                self._machine.reset(event.device)
        journal.over(disturbance)

    def _call(self, event: Event, call: Callable[[], object]) -> None:
        """Do what is a call, and ends when it is done."""
        journal = self._world.journal
        disturbance = journal.disturb(event.number, event.action, event.device)
        try:
            call()
        except VirtmeshError as error:
            self._excuse(event, disturbance, event.action, error)
            return
        self.done[event.action] += 1
        journal.over(disturbance)

    def _end_process(self, event: Event) -> None:
        """End a process in one of five ways, and measure until it is back."""
        name, journal = event.device, self._world.journal
        self._spare(name)
        before = lives(self._world.cli).get(name)
        if before is None:
            self.done[f"{event.action}, not there"] += 1
            return
        kind = event.action.removeprefix("fault-")
        disturbance = journal.disturb(event.number, kind, name, event.action)
        begun = time.monotonic()
        try:
            self._strike(event)
        except VirtmeshError as error:
            self._excuse(event, disturbance, event.action, error)
            if lives(self._world.cli).get(name) == before:
                return
        self.done[event.action] += 1
        if self._wait_back(name, before):
            outage = time.monotonic() - begun
            whose = "kernel" if name == "kernel" else "device"
            self.outages[f"{kind} of a {whose}"].append(outage)
            self._back[name] = time.monotonic()
            journal.over(disturbance, outage)

    def _strike(self, event: Event) -> None:
        """Do it. Errors: VirtmeshError."""
        name, cli = event.device, self._world.cli
        if event.action == "kill":
            send_signal(cli, name, signal.SIGKILL)
        elif event.action == "stop":
            send_signal(cli, name, signal.SIGSTOP)
        elif event.action == "restart":
            if name == "kernel":
                restart_process(cli.run_dir, name)
            else:
                self._machine.restart(name)
        else:
            self._machine.faults(name).add(event.action.removeprefix("fault-"))

    def _spare(self, name: str) -> None:
        """Let a process serve that died often soon after its start: it would be held."""
        age = time.monotonic() - self._back.get(name, 0.0)
        self._quick[name] = self._quick[name] + 1 if age < QUICK_SECONDS else 0
        if self._quick[name] >= QUICK_MAX - 1:
            time.sleep(QUICK_SECONDS + 1.0 - age)
            self._quick[name] = 0

    def _wait_back(self, name: str, before: Life) -> bool:
        """Wait until another life of a process serves."""
        deadline = time.monotonic() + BACK_SECONDS
        while time.monotonic() < deadline:
            if lives(self._world.cli).get(name) not in {None, before} and self._serves(name):
                return True
            time.sleep(LOOK_SECONDS)
        state = rundir.load(self._world.cli.run_dir)
        held = [one.held for one in state.processes if one.name == name] if state else []
        self._world.journal.violate(
            "monkey", f"{name} is not back after {BACK_SECONDS:g} s: {held}"
        )
        return False

    def _serves(self, name: str) -> bool:
        """Return whether a process is used again: a device by its driver, the kernel by clients."""
        try:
            if name == "kernel":
                return all(one.state == "ready" for one in self._machine.devices())
            return self._machine.disk(name).status().attached
        except VirtmeshError:
            return False

    def _all_ready(self) -> bool:
        return all(state.endswith(" ready") for state in self._states())

    def _states(self) -> list[str]:
        try:
            return [f"{one.name} {one.state}" for one in self._machine.devices()]
        except VirtmeshError as error:
            return [f"kernel {error}"]

    def _excuse(
        self, event: Event, disturbance: Disturbance, what: str, error: VirtmeshError
    ) -> None:
        """Note that something could not be done; it may be so only if something else was done."""
        journal = self._world.journal
        disturbance.end = disturbance.begin
        who = "monkey", "monkey", event.device
        self.done[f"{what} failed"] += 1
        if error.reason != "FAULT_NOT_FOUND" or not self._was_away(event.device, disturbance.begin):
            journal.met(who, what, disturbance.begin, error)
        journal.over(disturbance)

    def _was_away(self, device: str, begin: float) -> bool:
        """Return whether the process of a device ended since then: its faults ended with it."""
        felt = self._world.journal.felt(device, begin, self._world.journal.now())
        return any(one.kind in {"kill", "stop", "restart"} for one in felt)
