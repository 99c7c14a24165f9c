"""A malicious driver: plays a dialogue that was right, with mistakes in it, against any device.

    device = VirtioMmio(EntropyModel("rng", (64,)))
    report = await attack(local(device), EntropyDriver, lambda driver: driver.read(16), rounds=200)

The dialogue is recorded while the kind's own driver uses the device: the kit knows no kind. Each
round changes it in a few places, plays it, and then has the driver use the device again, which has
to work. `DeviceBroken` says what went wrong, with the shortest dialogue that does it. A seed and a
round always make the same mistakes. docs/testing.md has examples.
"""

from virtmesh.testing.malicious.attack import Report, attack, replay
from virtmesh.testing.malicious.broken import DeviceBroken
from virtmesh.testing.malicious.dialogue import (
    Dialogue,
    Memory,
    Notify,
    Race,
    RegisterRead,
    RegisterWrite,
    parse_dialogue,
)
from virtmesh.testing.malicious.mutations import mutate
from virtmesh.testing.malicious.recording import record
from virtmesh.testing.malicious.ways import Attach, local, service

__all__ = [
    "Attach",
    "DeviceBroken",
    "Dialogue",
    "Memory",
    "Notify",
    "Race",
    "RegisterRead",
    "RegisterWrite",
    "Report",
    "attack",
    "local",
    "mutate",
    "parse_dialogue",
    "record",
    "replay",
    "service",
]
