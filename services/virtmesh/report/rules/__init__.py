"""The tables of rules, and which of them a device is under."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.report.rules import (
    blk,
    board,
    features,
    gpu,
    mmio,
    ring,
    status,
    uart,
    unseen,
    virtio_input,
)
from virtmesh.report.rules.board import BOARD_QUIRKS, HOLE

if TYPE_CHECKING:
    from virtmesh.report.rule import Rule, Unseen

__all__ = ["BOARD_QUIRKS", "HOLE", "RULES", "TABLES", "UNSEEN", "find_rule", "rules_for"]

VIRTIO_TABLES: dict[str, tuple[Rule, ...]] = {
    "Device status, initialization and reset": status.RULES,
    "Feature negotiation": features.RULES,
    "Virtio over MMIO": mmio.RULES,
    "Virtqueues": ring.RULES,
}
KIND_TABLES: dict[str, tuple[Rule, ...]] = {
    "blk": blk.RULES,
    "gpu": gpu.RULES,
    "input": virtio_input.RULES,
}
TABLES: dict[str, tuple[Rule, ...]] = VIRTIO_TABLES | {
    "Block device": blk.RULES,
    "GPU": gpu.RULES,
    "Input device": virtio_input.RULES,
    "Serial port": uart.RULES,
    "Board of a CPU": board.RULES,
}
"""The tables by their titles, in the order of docs/report.md."""
RULES: tuple[Rule, ...] = tuple(rule for table in TABLES.values() for rule in table)
"""Every rule."""
UNSEEN: tuple[Unseen, ...] = unseen.UNSEEN
"""Statements for drivers that a device can't judge."""
_BY_NAME = {rule.name: rule for rule in RULES}


def rules_for(kind: str) -> tuple[Rule, ...]:
    """Return the rules for the driver of a kind of device, such as "blk"."""
    if kind == "uart":
        return uart.RULES
    common = tuple(rule for table in VIRTIO_TABLES.values() for rule in table)
    return common + KIND_TABLES.get(kind, ())


def find_rule(name: str) -> Rule | None:
    """Return a rule by its name; None for a violation that no rule of the tables is about."""
    return _BY_NAME.get(name)
