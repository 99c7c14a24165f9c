"""How an attack ends that finds something."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtmesh.testing.malicious.dialogue import Dialogue


class Problem(Exception):
    """What a device did that no driver may bring it to, in words."""


class DeviceBroken(AssertionError):
    """A device gave way to a driver.

    `problem` says how. `dialogue` does it again (`replay`), and `seed` and `round` made it.
    """

    def __init__(self, problem: str, dialogue: Dialogue, seed: int, number: int) -> None:
        self.problem = problem
        self.dialogue = dialogue
        self.seed = seed
        self.round = number
        super().__init__(
            f"round {number} of seed {seed}: {problem}\nthe dialogue that does it:\n{dialogue}"
        )
