"""The words of faults on demand, and the numbers behind them (virtmesh.fault.v1)."""

from __future__ import annotations

KINDS = {
    "io-error": 1,
    "delay": 2,
    "hang": 3,
    "torn-write": 4,
    "corrupt-write": 5,
    "lost-interrupt": 6,
    "late-interrupt": 7,
    "double-interrupt": 8,
    "spurious-interrupt": 9,
    "lost-notification": 10,
    "stuck-queue": 11,
    "needs-reset": 12,
    "config-change": 13,
    "wrong-length": 14,
    "wrong-id": 15,
    "kill": 16,
    "stop": 17,
    "dropped-packet": 18,
    "doubled-packet": 19,
    "swapped-packet": 20,
    "overrun": 21,
    "parity-error": 22,
    "framing-error": 23,
    "break": 24,
    "noise": 25,
    "stuck-display": 26,
    "lost-flush": 27,
}
"""Numbers of the kinds by their words: `io-error` is FAULT_KIND_IO_ERROR."""
KIND_WORDS = {number: word for word, number in KINDS.items()}
REQUEST_TYPES = {
    "read": 0,
    "write": 1,
    "flush": 4,
    "get-id": 8,
    "discard": 11,
    "write-zeroes": 13,
}
"""Numbers of the requests to a disk by their words (virtio 1.4, 5.2.6)."""
TYPE_WORDS = {number: word for word, number in REQUEST_TYPES.items()}

_REQUESTS = frozenset({"types", "sectors", "queue"})
_OF_DISKS = {
    "io-error": _REQUESTS | {"delay"},
    "delay": _REQUESTS | {"delay"},
    "hang": _REQUESTS,
    "torn-write": frozenset({"sectors", "queue", "delay", "size"}),
    "corrupt-write": frozenset({"sectors", "queue", "delay", "size"}),
    "lost-flush": frozenset({"queue", "delay"}),
}
_OF_VIRTIO = {
    "lost-interrupt": frozenset({"queue"}),
    "late-interrupt": frozenset({"queue", "delay"}),
    "double-interrupt": frozenset({"queue", "delay"}),
    "spurious-interrupt": frozenset({"queue", "delay"}),
    "lost-notification": frozenset({"queue"}),
    "stuck-queue": frozenset({"queue"}),
    "needs-reset": frozenset({"delay"}),
    "config-change": frozenset({"delay"}),
    "wrong-length": frozenset({"queue", "size"}),
    "wrong-id": frozenset({"queue"}),
}
_OF_PROCESSES = {"kill": frozenset({"delay"}), "stop": frozenset({"delay"})}
INPUT = frozenset({"dropped-packet", "doubled-packet", "swapped-packet"})
"""The kinds that input devices can have."""
SERIAL = frozenset({"overrun", "parity-error", "framing-error", "break", "noise"})
"""The kinds that serial ports can have."""
DISPLAY = frozenset({"stuck-display"})
"""The kinds that screens can have."""

ONLY_FOR = (
    _OF_DISKS
    | _OF_VIRTIO
    | _OF_PROCESSES
    | dict.fromkeys(INPUT | SERIAL | DISPLAY, frozenset[str]())
)
"""By kind: the fields of FaultSpec that it can have, of those that not every kind can."""
SPECIAL = frozenset[str]().union(*ONLY_FOR.values())
"""Fields that not every kind can have."""
NEEDED = dict.fromkeys(("delay", "late-interrupt", "spurious-interrupt", "config-change"), "delay")
"""By kind: the field that it must have."""

DISK = frozenset(_OF_DISKS)
"""The kinds that disks can have."""
VIRTIO = frozenset(_OF_VIRTIO)
"""The kinds that virtio devices can have."""
PROCESS = frozenset(_OF_PROCESSES)
"""The kinds that every device can have: they end or stop its process."""
TIMED = PROCESS | {"spurious-interrupt", "needs-reset", "config-change"}
"""The kinds that make their events themselves: one after each delay; without one, one at once."""


def bits_of(*kinds: str) -> int:
    """Return a set of kinds as native code takes it: bits by their numbers."""
    return sum(1 << KINDS[kind] for kind in kinds)
