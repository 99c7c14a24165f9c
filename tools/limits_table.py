"""Write the tables of docs/limits.md from the limits in the code, or check that they agree.

Usage: python -m tools.limits_table [--check]
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from tools.generated_part import write_or_check
from virtmesh_client.panel.limits import LIMITS as PANEL_LIMITS
from virtmesh_common.limits import BYTES, LIMITS, Limit

if TYPE_CHECKING:
    from collections.abc import Iterable

TARGET = Path(__file__).resolve().parent.parent / "docs" / "limits.md"
BEGIN = "<!-- made by tools/limits_table.py: not edited by hand -->\n"
HEAD = "| limit | default | values | of what |\n|---|---|---|---|\n"
FIXED_HEAD = "| of | limit | of what | defined in |\n|---|---|---|---|\n"
FIXED = (
    ("panel", "virtmesh_client.panel.sockets", "MESSAGE_MAX_BYTES", "bytes of a WebSocket message"),
    ("panel", "virtmesh_client.panel.server", "BODY_MAX_BYTES", "bytes of a request's body"),
    ("panel", "virtmesh_client.panel.inputs", "WAITING_MAX", "events that wait to be injected"),
    ("panel", "virtmesh_client.panel.live", "WANTS_MAX", "subscriptions of one WebSocket"),
    ("VNC", "virtmesh_client.vnc.server", "VIEWERS", "viewers"),
    ("VNC", "virtmesh_client.vnc.messages", "ENCODINGS_MAX", "encodings that a viewer may name"),
    ("VNC", "virtmesh_client.vnc.messages", "CUT_TEXT_MAX", "bytes of a cut text"),
    ("VNC", "virtmesh_client.vnc.pump", "QUEUE_MAX", "input events that wait for a keyboard"),
    ("RFC 2217", "virtmesh_client.serial.outbox", "UNSETTLED_MAX", "bytes that wait for the port"),
    ("RFC 2217", "virtmesh_client.serial.inbox", "LIMIT_BYTES", "bytes that wait for the client"),
    ("handover socket", "virtmesh.attach.door", "PENDING_LIMIT", "drivers that wait"),
    ("handover socket", "virtmesh.attach.door", "PENDING_SECONDS", "seconds that one may wait"),
    ("vhost-user", "virtmesh.vhost_user.server", "CONNECTIONS_MAX", "connections"),
    ("debuggers", "virtmesh.cpu.gdb.server", "CONNECTIONS_MAX", "connections"),
    ("guests", "virtmesh.kernel.guest.attached", "ACTIONS_MAX", "actions of one at a time"),
    ("register accesses", "virtmesh.host.registers", "BATCH_LIMIT", "accesses of one batch"),
    ("doorbells", "virtmesh.host.registers", "RING_LIMIT", "queues in one NotifyRequest"),
    ("calls", "virtmesh.rpc.request_sizes", "REQUEST_LIMIT_BYTES", "bytes of most single requests"),
    ("health checks", "virtmesh.rpc.budget_interceptor", "FREE_REQUESTS", "unread requests"),
    ("messages", "virtmesh_common.channel", "MESSAGE_LIMIT_BYTES", "bytes of a gRPC message"),
    ("messages", "virtmesh_common.sizes", "CHUNK_LIMIT_BYTES", "bytes of data in one message"),
)
"""Limits that are no option: of what, module, name, and what is counted."""


def table(limits: Iterable[Limit]) -> str:
    """Return a table of limits, one a row."""
    return HEAD + "".join(
        f"| `{one.name}` | {spell(one, one.default)} | {spell(one, one.least)} to"
        f" {spell(one, one.most)} | {one.unit} {one.meaning} |\n"
        for one in limits
    )


def spell(limit: Limit, value: int) -> str:
    """Write a value as a machine file has it."""
    if limit.unit == BYTES:
        for letter, size in (("T", 1 << 40), ("M", 1 << 20), ("K", 1 << 10)):
            if value % size == 0 and value:
                return f"{value // size}{letter}"
    return str(value)


def fixed() -> str:
    """Return the table of limits that are no option."""
    rows = (
        f"| {of} | {getattr(importlib.import_module(module), name)} | {what} |"
        f" `{module}.{name}` |\n"
        for of, module, name, what in FIXED
    )
    return FIXED_HEAD + "".join(rows)


def body() -> str:
    """Return all tables."""
    return (
        f"{table(LIMITS)}\n`virtmesh panel` has limits of its own, which its `--limit` sets:\n\n"
        f"{table(PANEL_LIMITS)}\nThese can't be set; they hold for the part of the product that is"
        f" named:\n\n{fixed()}\n"
    )


def main() -> int:
    """Write, or with --check compare and return 1 when the page is out of date."""
    return write_or_check(
        TARGET, BEGIN, body, about=__doc__, command="`python -m tools.limits_table`"
    )


if __name__ == "__main__":
    raise SystemExit(main())
