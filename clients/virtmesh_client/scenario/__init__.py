"""Scenarios: timelines of faults on demand, and of what is expected meanwhile."""

from virtmesh_client.scenario.model import BadScenario, Scenario, Step, load_scenario
from virtmesh_client.scenario.run import Outcome, StepResult, arun_scenario, run_scenario

__all__ = [
    "BadScenario",
    "Outcome",
    "Scenario",
    "Step",
    "StepResult",
    "arun_scenario",
    "load_scenario",
    "run_scenario",
]
