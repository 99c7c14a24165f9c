"""Rules about virtqueues (virtio 1.4, 2.7, 2.8). Native code judges all but the flags."""

from __future__ import annotations

from virtmesh.report.event import RingFlags
from virtmesh.report.rule import Rule

RULES = (
    Rule(
        "avail-index", "2.7.6.1", "Never decrease `idx` of the available ring, nor exceed its size."
    ),
    Rule("avail-entry", "2.7.6", "Put the index of a descriptor into the available ring."),
    Rule("chain-in-flight", "2.7.13", "Make no chain available that the device still holds."),
    Rule("descriptor-next", "2.7.5", "Continue a chain at a descriptor of its table."),
    Rule("chain-length", "2.7.5.3.1", "Make no chain longer than the queue, nor one that loops."),
    Rule("chain-bytes", "2.7.5.2", "Make no chain of more than 2^32 bytes."),
    Rule("readable-first", "2.7.4.2", "Put device-writable buffers after device-readable ones."),
    Rule(
        "buffer-outside-memory",
        "6.1",
        "Pass physical addresses of memory that the device can reach.",
    ),
    Rule(
        "indirect-not-negotiated",
        "2.7.5.3.1",
        "Use indirect descriptors only with VIRTIO_F_INDIRECT_DESC.",
    ),
    Rule("indirect-next", "2.7.5.3.1", "Never set INDIRECT and NEXT in one descriptor."),
    Rule("indirect-nested", "2.7.5.3.1", "Put no indirect descriptor into an indirect table."),
    Rule(
        "indirect-table",
        "2.7.5.3",
        "Give an indirect table a length that is a positive multiple of 16, inside memory.",
    ),
    Rule(
        "avail-flags",
        "2.7.7.1",
        "Set `flags` of the available ring to 0 or 1, to 0 alone with VIRTIO_F_EVENT_IDX.",
        lambda flags, _: flags.available not in {0, flags.allowed},
        on=RingFlags,
    ),
    Rule(
        "used-flags",
        "2.7.10.1",
        "Set `flags` of the used ring to 0 when allocating it.",
        lambda flags, _: bool(flags.used),
        on=RingFlags,
    ),
    Rule(
        "packed-overrun", "2.8.17", "Make no more descriptors available than the packed ring has."
    ),
    Rule(
        "packed-chain", "2.8.6", "Make all descriptors of a chain available before its first one."
    ),
    Rule("packed-buffer-id", "2.8.22", "Choose buffer IDs below the size of the queue."),
    Rule("packed-buffer-id-in-flight", "2.8.22", "Reuse a buffer ID when the device has used it."),
    Rule(
        "packed-indirect-in-chain", "2.8.19", "Put no indirect descriptor into a chain of others."
    ),
)
