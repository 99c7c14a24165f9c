"""Rules about input devices (virtio 1.4, 5.8)."""

from __future__ import annotations

from virtmesh.report.rule import Rule
from virtmesh_common.errors import NotWritable
from virtmesh_common.input import spec as virtio_input
from virtmesh_common.virtio.mmio import MMIO_CONFIG

QUERIED = frozenset((virtio_input.SIZE, virtio_input.U))
SELECTORS = 2

RULES = (
    Rule(
        "input-select",
        "5.8.5.1",
        "Write both `select` and `subsel` to ask for something.",
        lambda access, dialogue: (
            access.register in QUERIED
            and access.error is None
            and 0 < len(dialogue.config_selected) < SELECTORS
        ),
    ),
    Rule(
        "input-config-write",
        "5.8.5.1",
        "Write no field of the configuration space but `select` and `subsel`.",
        lambda access, dialogue: (
            dialogue.kind == "input"
            and access.offset >= MMIO_CONFIG
            and isinstance(access.error, NotWritable)
        ),
    ),
    Rule(
        "input-event-buffer",
        "5.8.6.1",
        "Post device-writable buffers of 8 bytes or more to the event queue.",
    ),
    Rule("input-status-buffer", "5.8.6.1", "Post buffers of 8 bytes or more to the status queue."),
)
