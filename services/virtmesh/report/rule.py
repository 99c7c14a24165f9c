"""A rule: one statement of a specification for drivers, and how a violation shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from virtmesh.report.event import Access

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.report.dialogue import Dialogue
    from virtmesh.report.event import Event

VIRTIO = "virtio 1.4"
PRIVILEGED = "RISC-V privileged"
"""The RISC-V Instruction Set Manual, Volume II: Privileged Architecture."""
PC16550D = "PC16550D"
"""The data sheet of the 16550 (National Semiconductor, TL/C/8652, June 1995)."""


@dataclass(frozen=True)
class Rule:
    """A statement for drivers, in our words, with its clause.

    `broken` says of an event of the type `on` whether it breaks the rule, given the dialogue before
    it. None: whoever finds the violation names the rule, as the native rings do.
    """

    name: str
    clause: str
    statement: str
    broken: Callable[[Any, Dialogue], bool] | None = None
    on: type[Event] = Access
    specification: str = VIRTIO


@dataclass(frozen=True)
class Unseen:
    """A statement for drivers that a device can't judge, and why."""

    clause: str
    statement: str
    reason: str
    specification: str = VIRTIO
