"""A scenario: a timeline of faults and expectations, as a TOML file.

    title = "A disk that dies"
    seed = 1
    load = ["disk"]

    [devices]
    disk = "blk"

    [[steps]]
    title = "reads take longer and longer"
    device = "disk"
    fault = "delay type=read delay=exp:5ms"
    name = "slow"

    [[steps]]
    taken = { slow = 5 }

docs/faults.md has all keys.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtmesh_common.fault.spec import FaultSpec, parse_fault
from virtmesh_common.fault.values import UNITS_US, read_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SIZE_MAX = 1 << 20
"""Bytes of the longest file."""
STEPS_MAX = 1000
WITHIN_SECONDS = 30.0
"""How long an expectation may take, where nothing else is said."""
NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
SHIPPED = ("dying-disk", "noisy-line", "comes-and-goes")
"""The scenarios that come with this package."""
SEED_STEP = 1_000_003
"""A fault without a seed has that of the scenario, and its place in it times this."""


class BadScenario(ValueError):
    """A scenario file that makes no sense."""


@dataclass(frozen=True)
class Step:
    """One step: what is ordered, and what is waited for after it."""

    title: str = ""
    after: float = 0.0
    """Seconds to let pass before it."""
    device: str = ""
    """The role of the device that it is about."""
    fault: FaultSpec | None = None
    """A fault to add."""
    name: str = ""
    """What the fault is called in later steps."""
    clear: tuple[str, ...] = ()
    """Faults to take back, by name."""
    reset: bool = False
    """Have the kernel reset the device."""
    restart: bool = False
    """Have the process of the device started anew."""
    taken: Mapping[str, int] = field(default_factory=dict)
    """Wait until faults have taken so many events."""
    held: Mapping[str, int] = field(default_factory=dict)
    """Wait until faults hold so many events back."""
    served: int = 0
    """Wait until so much of the load has succeeded since the step began."""
    failed: int = 0
    """Wait until so much of the load has failed since the step began."""
    state: str = ""
    """Wait until the device has this state, as `virtmesh devices` shows it."""
    within: float = WITHIN_SECONDS
    """How long may be waited, in seconds."""


@dataclass(frozen=True)
class Scenario:
    """A scenario, read and checked."""

    title: str
    seed: int
    devices: Mapping[str, str]
    """By role: the kind of the device."""
    load: tuple[str, ...]
    """Roles of devices that are used all the time."""
    steps: tuple[Step, ...]

    def with_seed(self, seed: int) -> Scenario:
        """Return it with another seed: faults without one of their own have others then."""
        return replace(self, seed=seed)

    def seeded(self, place: int, fault: FaultSpec) -> FaultSpec:
        """Return the fault of a step with its seed."""
        if fault.seed is not None:
            return fault
        return replace(fault, seed=(self.seed + place * SEED_STEP) % (1 << 63))


def load_scenario(place: str | Path) -> Scenario:
    """Read a file, or one of SHIPPED by its name. Errors: BadScenario; OSError."""
    if isinstance(place, str) and place in SHIPPED:
        folder = resources.files("virtmesh_client.scenario").joinpath("shipped")
        return parse_scenario(folder.joinpath(f"{place}.toml").read_text("utf-8"))
    try:
        with Path(place).open("rb") as file:
            data = file.read(SIZE_MAX + 1)
    except FileNotFoundError:
        come_along = ", ".join(SHIPPED)
        raise BadScenario(
            f"{place}: no such file; those that come along are {come_along}"
        ) from None
    if len(data) > SIZE_MAX:
        raise BadScenario(f"{place}: a scenario has at most {SIZE_MAX} bytes")
    try:
        return parse_scenario(data.decode("utf-8", "replace"))
    except BadScenario as error:
        raise BadScenario(f"{place}: {error}") from None


def parse_scenario(text: str) -> Scenario:
    """Read a scenario. Errors: BadScenario."""
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5000 digits
        raise BadScenario(str(error)) from None
    return _scenario(_Table(content, ""))


class _Table:
    """A table of the file. Errors of all methods: BadScenario."""

    def __init__(self, content: Mapping[str, Any], place: str) -> None:
        self._content = content
        self.place = place

    def only(self, known: Iterable[str]) -> None:
        """Refuse other keys."""
        for key in self._content:
            if key not in known:
                raise BadScenario(f"{self.place}{key} is no key: choose among {', '.join(known)}")

    def get(self, key: str, kind: type, default: Any) -> Any:
        """Return a value of a type."""
        value = self._content.get(key, default)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise BadScenario(f"{self.place}{key} must be a {kind.__name__}")
        return value

    def number(self, key: str, default: int) -> int:
        """Return a whole number from 0 on."""
        value: int = self.get(key, int, default)
        if not 0 <= value < 1 << 63:
            raise BadScenario(f"{self.place}{key} must be from 0 to 2^63 - 1")
        return value

    def seconds(self, key: str, default: float) -> float:
        """Return a time such as "200ms"."""
        if key not in self._content:
            return default
        try:
            return read_time(self.get(key, str, "")) / UNITS_US["s"]
        except ValueError as error:
            raise BadScenario(f"{self.place}{key}: {error}") from None

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list of names."""
        value = self.get(key, list, [])
        if not all(isinstance(one, str) and NAME.fullmatch(one) for one in value):
            raise BadScenario(f"{self.place}{key} must be a list of names")
        return tuple(value)

    def counts(self, key: str) -> Mapping[str, int]:
        """Return numbers by name."""
        table = _Table(self.get(key, dict, {}), f"{self.place}{key}.")
        return {name: table.number(name, 0) for name in table.get_keys()}

    def get_keys(self) -> list[str]:
        """Return the keys."""
        return list(self._content)


def _scenario(table: _Table) -> Scenario:
    """Read the file."""
    table.only(("title", "seed", "load", "devices", "steps"))
    devices = table.get("devices", dict, {})
    for role, kind in devices.items():
        if not NAME.fullmatch(role) or not isinstance(kind, str):
            raise BadScenario(f'devices.{role} must be the name of a kind, such as disk = "blk"')
    load = table.names("load")
    for role in load:
        _check_role(role, devices, "load")
    steps = table.get("steps", list, [])
    if not 1 <= len(steps) <= STEPS_MAX or not all(isinstance(one, dict) for one in steps):
        raise BadScenario(f"steps must be 1 to {STEPS_MAX} tables: begin each with [[steps]]")
    known: set[str] = set()
    read = tuple(
        _step(_Table(one, f"steps[{number}]."), devices, known) for number, one in enumerate(steps)
    )
    return Scenario(table.get("title", str, ""), table.number("seed", 1), devices, load, read)


def _check_role(role: str, devices: Mapping[str, str], place: str) -> None:
    """Check that a role is one of the file's. Errors: BadScenario."""
    if role not in devices:
        known = ", ".join(devices) or "none"
        raise BadScenario(f"{place}: {role!r} is none of the [devices], which are {known}")


def _step(table: _Table, devices: Mapping[str, str], known: set[str]) -> Step:
    """Read a step; `known` are the names of faults before it, to which its own is added."""
    table.only(Step.__dataclass_fields__)
    only = next(iter(devices)) if len(devices) == 1 else ""
    device = table.get("device", str, only)
    text = table.get("fault", str, "")
    try:
        fault = parse_fault(text) if text else None
    except ValueError as error:
        raise BadScenario(f"{table.place}fault: {error}") from None
    step = Step(
        title=table.get("title", str, ""),
        after=table.seconds("after", 0.0),
        device=device,
        fault=fault,
        name=table.get("name", str, ""),
        clear=table.names("clear"),
        reset=table.get("reset", bool, False),
        restart=table.get("restart", bool, False),
        taken=table.counts("taken"),
        held=table.counts("held"),
        served=table.number("served", 0),
        failed=table.number("failed", 0),
        state=table.get("state", str, ""),
        within=table.seconds("within", WITHIN_SECONDS),
    )
    if fault or step.reset or step.restart or step.state:
        _check_role(device, devices, f"{table.place}device")
    if step.name:
        if not fault or not NAME.fullmatch(step.name) or step.name in known:
            raise BadScenario(f"{table.place}name must name a fault, and no other has it")
        known.add(step.name)
    for name in (*step.clear, *step.taken, *step.held):
        if name not in known:
            raise BadScenario(f"{table.place[:-1]}: no fault has the name {name!r} by then")
    known.difference_update(step.clear)
    return step
