"""What a device has told of its driver, kept over restarts of its process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh_common.api.device.v1 import device_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class KeptReport:
    """The report of one device, over all processes that served it since the guest booted."""

    def __init__(self) -> None:
        self._before: tuple[pb.Violation, ...] = ()
        self._now: tuple[pb.Violation, ...] = ()
        self.asking = asyncio.Lock()
        """Held by who asks the process."""

    def take(self, violations: Sequence[pb.Violation]) -> None:
        """Keep what the process that serves the device has counted by now."""
        self._now = tuple(violations)

    def end(self) -> None:
        """Take note that the process, or the attachment to it, has ended; its trace has too."""
        for one in self._now:
            one.first.ClearField("sequence")
        self._before, self._now = tuple(merge((*self._before, *self._now))), ()

    def forget(self) -> None:
        """Forget everything: the guest boots anew."""
        self._before = self._now = ()

    @property
    def violations(self) -> tuple[pb.Violation, ...]:
        """All of them, each rule once, by the time of the first."""
        return tuple(merge((*self._before, *self._now)))


def merge(violations: Iterable[pb.Violation]) -> list[pb.Violation]:
    """Return each rule once, with the sum of its counts and its first time, ascending by that."""
    found: dict[str, pb.Violation] = {}
    for one in sorted(violations, key=lambda one: one.first.time_ns):
        known = found.get(one.rule)
        if known is None:
            found[one.rule] = copy = pb.Violation()
            copy.CopyFrom(one)
        else:
            known.count += one.count
    return list(found.values())
