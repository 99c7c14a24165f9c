"""Runs a scenario on a machine: its faults, its load, and what it expects."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_client.aio.threads import run_in
from virtmesh_client.channel import Scope
from virtmesh_client.scenario.load import Load
from virtmesh_client.scenario.model import BadScenario
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from virtmesh_client.async_machine import AsyncMachine
    from virtmesh_client.fault import Fault
    from virtmesh_client.machine import Machine
    from virtmesh_client.scenario.model import Scenario, Step

LOOK_SECONDS = 0.02
"""How often an expectation is looked at."""


@dataclass(frozen=True)
class StepResult:
    """What became of a step."""

    number: int
    title: str
    passed: bool
    seconds: float
    """From the beginning of the scenario to the end of the step."""
    ordered: str = ""
    """The fault that it added: device, number, and words with the seed."""
    missing: tuple[str, ...] = ()
    """What was expected and did not come."""


@dataclass(frozen=True)
class Outcome:
    """What became of a scenario, with the seed that repeats it."""

    title: str
    seed: int
    devices: Mapping[str, str]
    """By role: the name of the device."""
    steps: tuple[StepResult, ...]
    served: int
    """Operations of the load that succeeded."""
    failed: int

    @property
    def passed(self) -> bool:
        """True if all that was expected has come."""
        return all(step.passed for step in self.steps)


def run_scenario(
    machine: Machine,
    scenario: Scenario,
    *,
    devices: Mapping[str, str] | None = None,
    tell: Callable[[StepResult], None] = lambda _: None,
) -> Outcome:
    """Run a scenario; `devices` says which device of the machine has which role.

    A role without one has the first device of its kind. `tell` is called after each step. The first
    step that fails is the last. In the end the faults of the scenario are taken back.
    Errors: BadScenario when a role has no device; those of the machine.
    """
    names = find_devices(machine, scenario, devices or {})
    kinds = [(names[role], scenario.devices[role]) for role in scenario.load]
    for name, kind in kinds:
        if kind not in Load.kinds():
            raise BadScenario(f"there is no load for {name}, a {kind}")
    run = _Run(machine, scenario, names, [Load(machine, *one) for one in kinds])
    with run.used():
        steps = tuple(run.steps(tell))
    served, failed = run.load
    return Outcome(scenario.title, scenario.seed, names, steps, served, failed)


async def arun_scenario(
    machine: AsyncMachine,
    scenario: Scenario,
    *,
    devices: Mapping[str, str] | None = None,
    tell: Callable[[StepResult], None] = lambda _: None,
) -> Outcome:
    """Run a scenario as `run_scenario` does, on a thread; `tell` is called there."""

    def run() -> Outcome:
        return run_scenario(machine.blocking, scenario, devices=devices, tell=tell)

    return await run_in(Scope(), run, waits=True)


def find_devices(
    machine: Machine, scenario: Scenario, wanted: Mapping[str, str]
) -> Mapping[str, str]:
    """Return the names of the devices by role. Errors: BadScenario."""
    for role in wanted:
        if role not in scenario.devices:
            known = ", ".join(scenario.devices)
            raise BadScenario(f"the scenario has no device {role!r}: it has {known}")
    kinds: dict[str, str] = {}
    for device in machine.devices():
        with contextlib.suppress(VirtmeshError):
            kinds[device.name] = machine.description(device.name).kind
    found = {}
    for role, kind in scenario.devices.items():
        candidates = [name for name, one in kinds.items() if one == kind]
        name = wanted.get(role) or next(iter(candidates), "")
        if name not in candidates:
            has = ", ".join(candidates) or "none"
            raise BadScenario(f"{role} must be a device of kind {kind}: the machine has {has}")
        found[role] = name
    return found


class _Run:
    """A scenario that runs."""

    def __init__(
        self, machine: Machine, scenario: Scenario, names: Mapping[str, str], loads: list[Load]
    ) -> None:
        self._machine = machine
        self._scenario = scenario
        self._names = names
        self._loads = loads
        self._faults: dict[str, Fault] = {}
        """By name, those that are not taken back."""
        self._all: list[Fault] = []
        self._begun = time.monotonic()

    @property
    def load(self) -> tuple[int, int]:
        """Operations that succeeded, and that failed."""
        return sum(one.served for one in self._loads), sum(one.failed for one in self._loads)

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Use the devices; at the end take the faults back."""
        for one in self._loads:
            one.start()
        try:
            yield
        finally:
            for fault in self._all:
                # It may have ended with its service.
                with contextlib.suppress(VirtmeshError):
                    self._machine.faults(fault.device).clear([fault.number])
            for one in self._loads:
                one.stop()

    def steps(self, tell: Callable[[StepResult], None]) -> Iterator[StepResult]:
        """Do the steps, until one fails."""
        for number, step in enumerate(self._scenario.steps, 1):
            result = self._step(number, step)
            tell(result)
            yield result
            if not result.passed:
                return

    def _step(self, number: int, step: Step) -> StepResult:
        """Do one step."""
        time.sleep(step.after)
        before = self.load
        ordered = ""
        if step.fault is not None:
            spec = self._scenario.seeded(number, step.fault)
            fault = self._machine.faults(self._names[step.device]).add(spec)
            self._all.append(fault)
            if step.name:
                self._faults[step.name] = fault
            ordered = f"{fault.device} fault {fault.number}: {fault.spec}"
        for name in step.clear:
            fault = self._faults.pop(name)
            self._machine.faults(fault.device).clear([fault.number])
        if step.reset:
            self._machine.reset(self._names[step.device])
        if step.restart:
            self._machine.restart(self._names[step.device])
        missing = self._wait(step, before)
        seconds = time.monotonic() - self._begun
        return StepResult(number, step.title, not missing, seconds, ordered, missing)

    def _wait(self, step: Step, before: tuple[int, int]) -> tuple[str, ...]:
        """Wait for what a step expects; return what did not come in time."""
        deadline = time.monotonic() + step.within
        while True:
            try:
                missing = tuple(self._missing(step, before))
            except VirtmeshError as error:  # A device that is away may come back.
                missing = (error.message,)
            if not missing or time.monotonic() > deadline:
                return missing
            time.sleep(LOOK_SECONDS)

    def _missing(self, step: Step, before: tuple[int, int]) -> Iterator[str]:
        """Say what a step expects and is not there yet."""
        served, failed = (now - then for now, then in zip(self.load, before, strict=True))
        if served < step.served:
            yield f"served {served} of {step.served}{self._why()}"
        if failed < step.failed:
            yield f"failed {failed} of {step.failed}"
        for wanted, field in ((step.taken, "hits"), (step.held, "held")):
            for name, least in wanted.items():
                count = getattr(self._look(name), field)
                if count < least:
                    yield f"{name}: {field} {count} of {least}"
        if step.state:
            name = self._names[step.device]
            states = [one.state for one in self._machine.devices() if one.name == name]
            if states != [step.state]:
                yield f"{name} is {', '.join(states) or 'gone'}, not {step.state}"

    def _look(self, name: str) -> Fault:
        """Return how a fault stands."""
        known = self._faults[name]
        found = self._machine.faults(known.device).list()
        return next((one for one in found if one.number == known.number), known)

    def _why(self) -> str:
        """Return the last error of the load, if there is one."""
        last = next((one.last_error for one in self._loads if one.last_error), "")
        return f" (last error: {last})" if last else ""
