"""One batch of register accesses and its answer, whichever way they travel."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from virtmesh.attach.bus import columns
from virtmesh.attach.cycles import CycleBatch
from virtmesh_common.errors import BY_REASON, BadStream, RegisterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.attach.bus import Access
    from virtmesh_common.errors import VirtmeshError


@dataclass(frozen=True, slots=True)
class Refusal:
    """The refused access: its place in the batch, and reason and message (AccessError)."""

    index: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a device answers to a batch."""

    values: list[int]
    refusal: Refusal | None = None


class Exchange:
    """A batch that was sent or waits to be sent, and the future of its answer."""

    def __init__(self, batch: Sequence[Access]) -> None:
        self.batch = batch
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def columns(self) -> tuple[list[int], list[int], list[int]]:
        """Return offsets, ops and values."""
        return columns(self.batch)

    def set(self, answer: Answer) -> None:
        """Pass an answer to whoever waits for it, if somebody does."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: VirtmeshError) -> None:
        """Pass an error to whoever waits."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def result(self, answer: Answer) -> list[int]:
        """Check an answer. Errors: RegisterError classes; BadStream."""
        return check_answer(self.batch, answer)


def check_answer(batch: Sequence[Access], answer: Answer) -> list[int]:
    """Return the values of an answer that fits. Errors: RegisterError classes; BadStream."""
    if (refusal := answer.refusal) is not None:
        kind = BY_REASON.get(refusal.reason, RegisterError)
        raise kind(refusal.message, index=refusal.index)
    values = answer.values
    if not (isinstance(batch, CycleBatch) and batch.takes(values)):
        _check_each(batch, values)
    if len(values) == len(batch) or _ended_by_guard(batch, values):
        return values
    raise BadStream(f"{len(values)} values came for a batch of {len(batch)} accesses")


def _check_each(batch: Sequence[Access], values: Sequence[int]) -> None:
    """Check that each value fits its access, and that no guard had to end it. Errors: BadStream."""
    last = len(values) - 1
    for place, (value, one) in enumerate(zip(values, batch, strict=False)):
        if value >> (8 * one.width):
            raise BadStream(f"a read of {one.width} bytes returned {value:#x}, which is wider")
        if one.expect is not None and place < last and not one.met_by(value):
            raise BadStream(f"it executed accesses after guard {place}, which {value:#x} fails")


def _ended_by_guard(batch: Sequence[Access], values: Sequence[int]) -> bool:
    """Return True if the last value is that of a guard that failed."""
    if not 0 < len(values) < len(batch):
        return False
    return not batch[len(values) - 1].met_by(values[-1])


class RegisterTransport(Protocol):
    """Carries batches to a device, and the answers back, in order."""

    def submit(self, exchange: Exchange) -> None:
        """Send a batch. Does not wait."""

    def fail(self, error: VirtmeshError) -> None:
        """Fail every batch without an answer, once the device is lost."""

    def close(self) -> None:
        """Stop watching what the transport watches."""
