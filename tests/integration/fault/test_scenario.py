"""Scenarios of faults, by the command and from Python."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from virtmesh_client.scenario import arun_scenario, load_scenario
from virtmesh_client.scenario.model import SHIPPED, BadScenario, parse_scenario

if TYPE_CHECKING:
    from tests.support.cli import Cli

pytestmark = pytest.mark.processes

SHORT = """
title = "short"
seed = 9
load = ["disk"]
devices = { disk = "blk" }

[[steps]]
title = "reads fail"
fault = "io-error type=read every=2"
name = "errors"
failed = 3

[[steps]]
clear = ["errors"]
served = 5
"""


@pytest.mark.parametrize("name", SHIPPED)
def test_the_scenarios_that_come_along_pass(cli: Cli, name: str) -> None:
    """Each step and each seed is told, and no fault is left."""
    cli.up("--disk", "disk.img,size=16M")
    ran = cli("fault", "run", name)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    scenario = load_scenario(name)
    assert ran.stdout.startswith(f"{scenario.title} (seed 1)\n")
    assert ran.stdout.count(" ok ") == len(scenario.steps)
    assert "seed=" in ran.stdout
    assert "passed: " in ran.stdout
    assert cli("fault", "list").stdout == "no faults are ordered\n"


def test_an_expectation_that_does_not_come_fails_and_says_what_is_missing(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """The steps after it are not done, and the faults are taken back."""
    path = cli.folder / "scenario.toml"
    path.write_text(SHORT.replace("failed = 3", 'failed = 1000000\nwithin = "200ms"'))
    ran = cli("fault", "run", path, "--json")
    outcome = json.loads(ran.stdout)
    assert (ran.returncode, outcome["passed"], len(outcome["steps"])) == (1, False, 1)
    assert outcome["steps"][0]["missing"][0].startswith("failed ")
    assert machine.faults("vda").list() == ()


async def test_from_python_with_another_seed_and_a_device_of_choice(
    machine: virtmesh_client.Machine,
) -> None:
    """The outcome has what repeats it."""
    scenario = parse_scenario(SHORT).with_seed(77)
    async with await virtmesh_client.aconnect(machine.address) as connected:
        outcome = await arun_scenario(connected, scenario, devices={"disk": "vda"})
        assert (outcome.passed, outcome.seed, outcome.devices) == (True, 77, {"disk": "vda"})
        assert outcome.failed >= 3
        with pytest.raises(BadScenario, match="disk must be a device of kind blk"):
            await arun_scenario(connected, scenario, devices={"disk": "serial"})


def test_a_scenario_without_its_device_is_refused(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """Before anything is done."""
    del machine
    ran = cli("fault", "run", "noisy-line")
    assert ran.returncode == 2
    assert "port must be a device of kind uart: the machine has none" in ran.stderr
