"""Scenario files: what they may say, and how what is wrong is named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from virtmesh_client.scenario.model import SHIPPED, BadScenario, load_scenario, parse_scenario

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 'devices = { disk = "blk" }\n'


@pytest.mark.parametrize("name", SHIPPED)
def test_those_that_come_along_can_be_read(name: str) -> None:
    """Each has a title, and steps that order faults."""
    scenario = load_scenario(name)
    assert scenario.title
    assert sum(step.fault is not None for step in scenario.steps) >= 3


def test_a_fault_without_a_seed_has_one_of_the_scenario() -> None:
    """Another one in each place, and others with another seed of the scenario; its own stays."""
    scenario = parse_scenario(HEAD + '[[steps]]\nfault = "hang"\n[[steps]]\nfault = "hang seed=3"')
    first, second = (step.fault for step in scenario.steps)
    assert first is not None
    assert second is not None
    seeds = {scenario.seeded(place, first).seed for place in (1, 2)}
    seeds |= {scenario.with_seed(2).seeded(1, first).seed}
    assert len(seeds) == 3
    assert scenario.seeded(2, second).seed == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "steps must be 1 to 1000 tables"),
        ("x = ", "Invalid value"),
        ("x = " + "[" * 100_000, "recursion"),
        ("seed = " + "9" * 5000, "4300 digits"),
        (HEAD + "colour = 1\n[[steps]]", "colour is no key"),
        (HEAD + "seed = -1\n[[steps]]", "seed must be from 0"),
        (HEAD + 'seed = "1"\n[[steps]]', "seed must be a int"),
        ("devices = { Disk = 'blk' }\n[[steps]]", "devices.Disk must be the name of a kind"),
        (HEAD + 'load = ["port"]\n[[steps]]', "load: 'port' is none of the [devices]"),
        (HEAD + "[[steps]]\nserved = true", "steps[0].served must be a int"),
        (HEAD + '[[steps]]\nafter = "5"', "steps[0].after: '5' is no time"),
        (HEAD + '[[steps]]\nfault = "x"', "steps[0].fault: 'x' is no fault"),
        (HEAD + '[[steps]]\ndevice = "b"\nreset = true', "steps[0].device: 'b' is none"),
        (HEAD + '[[steps]]\nname = "a"', "steps[0].name must name a fault"),
        (HEAD + '[[steps]]\nclear = ["a"]', "steps[0]: no fault has the name 'a' by then"),
        (
            HEAD
            + '[[steps]]\nfault = "hang"\nname = "a"\n[[steps]]\nclear = ["a"]\n'
            + "[[steps]]\nheld = { a = 1 }",
            "steps[2]: no fault has the name 'a' by then",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    """With its place."""
    with pytest.raises(BadScenario, match=re.escape(says)):
        parse_scenario(text)


def test_what_is_wrong_names_the_file_and_one_that_is_not_there_those_that_are(
    tmp_path: Path,
) -> None:
    """A misspelt name is taken for that of a file."""
    with pytest.raises(BadScenario, match=r"dying-dsk: no such file; .* dying-disk, noisy-line"):
        load_scenario("dying-dsk")
    (tmp_path / "bad.toml").write_text("x")
    with pytest.raises(BadScenario, match=re.escape(f"{tmp_path}/bad.toml: Expected '='")):
        load_scenario(tmp_path / "bad.toml")
