"""Rules about feature negotiation (virtio 1.4, 2.2, 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.report.rule import Rule
from virtmesh.report.rules.status import gains, refused_for
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

if TYPE_CHECKING:
    from virtmesh.report.dialogue import Dialogue
    from virtmesh.report.event import Access

VERSION_1 = int(Feature.VIRTIO_F_VERSION_1)


def negotiates(access: Access, dialogue: Dialogue) -> bool:
    """Say whether an access ends feature negotiation."""
    return gains(access, dialogue, Status.FEATURES_OK)


RULES = (
    Rule(
        "features-read",
        "3.1.1",
        "Read the device's features before setting FEATURES_OK.",
        lambda access, dialogue: (
            negotiates(access, dialogue) and not dialogue.since_reset(mmio.DEVICE_FEATURES)
        ),
    ),
    Rule(
        "feature-not-offered",
        "2.2.1",
        "Accept no feature that the device did not offer.",
        lambda access, dialogue: (
            negotiates(access, dialogue) and bool(dialogue.accepted & ~dialogue.offered())
        ),
    ),
    Rule(
        "feature-dependency",
        "2.2.1",
        "Accept no feature that requires another one which is not accepted.",
        lambda access, dialogue: (
            negotiates(access, dialogue) and bool(dialogue.missing(dialogue.accepted))
        ),
    ),
    Rule(
        "version-1",
        "6.1",
        "Accept VIRTIO_F_VERSION_1 if it is offered.",
        lambda access, dialogue: (
            negotiates(access, dialogue)
            and bool(dialogue.offered() & ~dialogue.accepted & VERSION_1)
        ),
    ),
    Rule(
        "features-late",
        "3.1.1",
        "Accept features after DRIVER and before FEATURES_OK, and no new ones later.",
        lambda access, _: (
            access.register is mmio.DRIVER_FEATURES and refused_for(access, "(3.1.1)")
        ),
    ),
    Rule(
        "feature-word",
        "2.2",
        "Accept no feature bit that the specification does not describe: there are 128.",
        lambda access, _: access.register is mmio.DRIVER_FEATURES and refused_for(access, "(2.2)"),
    ),
)
