"""Register windows of devices."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from virtmesh.telemetry.definitions import counter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.mmio.register_file import RegisterFile

ACCESSES = counter(
    "virtmesh_register_accesses",
    "Register accesses executed. `direction` is read or write.",
    "accesses",
    "register",
    "direction",
)
REFUSED = counter(
    "virtmesh_register_refused",
    "Register accesses refused, by the reason of the error.",
    "accesses",
    "reason",
)
RESERVED = counter(
    "virtmesh_register_reserved",
    "Touches of registers that the specification reserves or that are not implemented.",
    "accesses",
    "register",
)
RESERVED_BITS = counter(
    "virtmesh_register_reserved_bits_writes",
    "Writes that set reserved bits of a register, which have no effect.",
    "writes",
    "register",
)


def register_metrics(*files: RegisterFile) -> Iterable[Metric]:
    """Return the counters of the register files of one window, summed."""
    reads, writes, refused, reserved = (
        sum((getattr(file, name) for file in files), Counter[str]())
        for name in ("reads", "writes", "refused", "reserved")
    )
    yield ACCESSES.of(
        ((register, direction), count)
        for direction, counts in (("read", reads), ("write", writes))
        for register, count in sorted(counts.items())
    )
    yield REFUSED.of(((reason,), count) for reason, count in sorted(refused.items()))
    yield RESERVED.of(((register,), count) for register, count in sorted(reserved.items()))
    # Files of one window can share what they count here.
    tallies = dict.fromkeys(file.reserved_bits for file in files)
    bits = sum((one.writes for one in tallies), Counter[str]())
    yield RESERVED_BITS.of(((register,), count) for register, count in sorted(bits.items()))
