"""The malicious driver finds what is wrong with a device: a kit that can't fail proves nothing."""

from __future__ import annotations

import os
import struct
from random import Random

import pytest

from tests.support.entropy import EntropyDriver, EntropyModel
from virtmesh.drivers.base import Driver
from virtmesh.testing.malicious import (
    DeviceBroken,
    Dialogue,
    Memory,
    Notify,
    Race,
    RegisterRead,
    RegisterWrite,
    attack,
    local,
    mutate,
    parse_dialogue,
    replay,
)
from virtmesh.testing.malicious.attack import PATIENCE
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh.virtio.queue_device import Chain
from virtmesh_common.errors import DriverViolation
from virtmesh_common.registers import Access, Register
from virtmesh_common.virtio import mmio

RAM = 1 << 20
SEED = 4
"""Finds all of the faults below within 40 rounds."""
STEPS_MAX = 8
"""Most steps of a dialogue that was made short: 41 before."""
EVERY_STEP = Dialogue(
    0x8000_0000,
    RAM,
    (
        RegisterWrite(0x70, 4, 0),
        RegisterRead(0x0, 4),
        Memory(0x8000_0010, b"\x01\x02"),
        Race(0x8000_0020, b"\x00", b"\xff"),
        Notify(3),
    ),
)


async def ask(driver: Driver) -> None:
    """Ask for random bytes, several times."""
    assert isinstance(driver, EntropyDriver)
    for length in (32, 16, 64):
        await driver.read(length)


class Trusting(EntropyModel):
    """Believes that a request has a header of eight bytes."""

    def take(self, chain: Chain) -> None:
        """Read the header."""
        if chain.readable:
            struct.unpack("<Q", chain.read(chain.readable_bytes))
        super().take(chain)


class Stuck(EntropyModel):
    """Never stops a queue again that was given a malformed chain."""

    is_stuck = False

    def take(self, chain: Chain) -> None:
        """Get stuck."""
        self.is_stuck = self.is_stuck or not chain.writable or chain.writable_bytes < 16
        super().take(chain)

    def is_stopped(self, index: int) -> bool:
        """Say that it is not, once it is stuck."""
        return not self.is_stuck and super().is_stopped(index)


class Leaking(EntropyModel):
    """Keeps a descriptor for each reset."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[int] = []

    def reset(self) -> None:
        """Open another one."""
        self.kept.append(os.open(os.devnull, os.O_RDONLY))

    def close(self) -> None:
        """Close them, for the process of the test."""
        for one in self.kept:
            os.close(one)


class Remembering(EntropyModel):
    """Has a register whose value outlives a reset, with one that keeps every driver out."""

    config = (Register("field", mmio.MMIO_CONFIG, Access.RW, "-", "A field"),)
    value = 0

    def write_config(self, field: Register, value: int) -> None:
        """Take any value."""
        self.value |= value

    def missing_feature(self, features: int) -> str:
        """Refuse all drivers, once a value was written."""
        return "a value of zero" if self.value else ""


class Raising(EntropyModel):
    """Raises what no register may."""

    config = Remembering.config

    def write_config(self, field: Register, value: int) -> None:
        """Look a value up."""
        if value:
            raise KeyError(value)
        raise DriverViolation("0 is not for you")


async def broken(model: EntropyModel, rounds: int = 400) -> DeviceBroken:
    """Attack a device until it gives way; return how. Only one that gets stuck is waited for."""
    way = local(VirtioMmio(model))
    patience = 1.0 if isinstance(model, Stuck) else PATIENCE
    with pytest.raises(DeviceBroken) as caught:
        await attack(
            way, EntropyDriver, ask, rounds=rounds, seed=SEED, ram_bytes=RAM, patience=patience
        )
    model.close()
    return caught.value


async def test_a_device_without_a_fault_survives() -> None:
    """The same dialogue, the same mistakes."""
    way = local(VirtioMmio(EntropyModel()))

    report = await attack(way, EntropyDriver, ask, rounds=50, seed=SEED, ram_bytes=RAM)

    assert report.rounds == 50
    assert report.steps > 10
    assert report.refused > 0


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (Trusting, "a fault on the event loop: error: unpack requires"),
        (Raising, "KeyError: "),
        (Remembering, "the next driver gets"),
        (Stuck, "the device was not reset and detached"),
    ],
)
async def test_a_fault_is_found(model: type[EntropyModel], problem: str) -> None:
    """Whatever kind of fault: an exception on the loop, in an access, a grudge, a hang."""
    found = await broken(model())

    assert found.problem.startswith(problem)


async def test_descriptors_that_are_left_are_found() -> None:
    """Without any mistake of the driver."""
    found = await broken(Leaking(), rounds=20)

    assert "descriptors were left open in 20 rounds" in found.problem


async def test_what_is_found_is_short_and_can_be_played_again() -> None:
    """From the text of the error."""
    found = await broken(Raising())
    text = str(found).split("the dialogue that does it:\n")[1]
    dialogue = parse_dialogue(text)

    assert len(dialogue.steps) <= STEPS_MAX
    with pytest.raises(DeviceBroken, match="KeyError"):
        await replay(local(VirtioMmio(Raising())), dialogue, EntropyDriver, ask)


def test_a_dialogue_survives_its_text() -> None:
    """Each kind of step."""
    assert parse_dialogue(str(EVERY_STEP)) == EVERY_STEP


@pytest.mark.parametrize("text", ["", "read 0 4", "ram 0 1\njump 3", "ram 0 1\nram 0 1"])
def test_text_that_is_no_dialogue_is_refused(text: str) -> None:
    """With the line."""
    with pytest.raises(ValueError, match=r"dialogue"):
        parse_dialogue(text)


def test_a_seed_makes_the_same_mistakes() -> None:
    """And another one others."""
    made = [str(mutate(EVERY_STEP, Random(seed))) for seed in (1, 1, 2)]  # noqa: S311 - no secret

    assert made[0] == made[1] != made[2]


def test_every_mistake_leaves_a_dialogue() -> None:
    """What is made can always be spelled and parsed."""
    for seed in range(2000):
        changed = mutate(EVERY_STEP, Random(seed))  # noqa: S311 - no secret
        assert parse_dialogue(str(changed)) == changed
