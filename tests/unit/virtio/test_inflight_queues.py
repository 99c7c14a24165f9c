"""Queues over MMIO that resume where an in-flight log says, and what clears a log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtmesh_native import GuestMemory, InFlightLog

from tests.support.guest_side import Guest, GuestRing
from tests.support.holding_device import SIZES, HoldingModel, describe
from virtmesh.attach.bus import writing
from virtmesh.mmio.inflight_logs import logs_size
from virtmesh.testing.local_bus import LocalBus
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.mmio import QUEUE_READY, QUEUE_RESET, QUEUE_SEL, STATUS
from virtmesh_common.virtio.status import Status

KINDS = {"split": int(Feature.VIRTIO_F_RING_PACKED), "packed": 0}
"""Kinds of rings, by the feature that is not agreed on."""


class Lives:
    """A guest, and one device after the other that has its memory and its logs."""

    def __init__(self) -> None:
        self.model = HoldingModel()
        self.device = VirtioMmio(self.model)
        self.guest = Guest(describe(self.device), ())

    def attach(self) -> LocalBus:
        """Attach the guest to the device that lives."""
        return LocalBus(self.device, self.guest.ram, inflight_logs=self.guest.logs)

    async def begin(self, *sizes: int, without: int = 0) -> list[GuestRing]:
        """Attach, and set queues up."""
        await self.guest.attach(self.attach())
        return await self.guest.bring_up(*sizes, without=without)

    async def die(self) -> None:
        """Have the device gone, and another one come, which nobody uses yet."""
        await self.guest.bus.close()
        self.device.close()
        self.model = HoldingModel()
        self.device = VirtioMmio(self.model)

    async def go_on(self) -> None:
        """Restore the guest's state in the new device."""
        await self.guest.restore(self.attach())


@pytest.fixture
async def lives() -> AsyncIterator[Lives]:
    """Have a guest, and a device that is not attached."""
    lives = Lives()
    yield lives
    await lives.guest.close()
    lives.device.close()


def add(ring: GuestRing, count: int) -> list[int]:
    """Make so many buffers available, and tell the device. Return their tokens."""
    tokens = [ring.queue.add([(ring.ram.address, 8)], []) for _ in range(count)]
    ring.bus.notify(ring.index)
    return [token for token in tokens if token is not None]


async def until_held(lives: Lives, count: int, ring: GuestRing) -> None:
    """Have the device look at a ring, until it holds so many chains."""
    lives.model.kick(ring.index)
    assert len(lives.model.held) == count


@pytest.mark.parametrize("without", KINDS.values(), ids=KINDS.keys())
async def test_chains_that_were_not_used_come_again_in_their_order(
    lives: Lives, without: int
) -> None:
    """Then comes what is available; each chain is used once."""
    (ring,) = await lives.begin(8, without=without)
    tokens = add(ring, 4)
    await until_held(lives, 4, ring)
    lives.model.give_back(1)
    await lives.die()
    more = add(ring, 2)
    await lives.go_on()
    assert lives.model.tokens == [tokens[0], *tokens[2:], *more]
    while lives.model.held:
        lives.model.give_back(-1)
    used = [token for token, _ in ring.queue.pop_used()]
    assert used == [tokens[1], *reversed([tokens[0], *tokens[2:], *more])]


@pytest.mark.parametrize("without", KINDS.values(), ids=KINDS.keys())
async def test_several_lives_are_as_one(lives: Lives, without: int) -> None:
    """A chain may see any number of devices before it is used."""
    (ring,) = await lives.begin(16, without=without)
    tokens = add(ring, 3)
    await until_held(lives, 3, ring)
    for _ in range(20):
        await lives.die()
        await lives.go_on()
        assert lives.model.tokens == tokens
        lives.model.give_back(0)
        assert [token for token, _ in ring.queue.pop_used()] == tokens[:1]
        tokens = [*tokens[1:], *add(ring, 1)]
        await until_held(lives, 3, ring)


async def test_each_queue_has_a_log_of_its_own(lives: Lives) -> None:
    """Queues of several sizes resume side by side."""
    ring, other = await lives.begin(16, 8)
    tokens, others = add(ring, 3), add(other, 2)
    await until_held(lives, 3, ring)
    await until_held(lives, 5, other)
    lives.model.give_back(0)
    lives.model.give_back(2)
    await lives.die()
    await lives.go_on()
    held = [(chain.queue, chain.token) for chain in lives.model.held]
    assert held == [(0, tokens[1]), (0, tokens[2]), (1, others[1])]
    assert ring.queue.pop_used() == [(tokens[0], 0)]
    assert other.queue.pop_used() == [(others[0], 0)]


async def test_a_queue_that_resumes_interrupts_once(lives: Lives) -> None:
    """The device before may have used a buffer and not told; a new queue has nothing to tell."""
    (ring,) = await lives.begin(8)
    assert lives.device.interrupt.sequence == 0
    add(ring, 1)
    await until_held(lives, 1, ring)
    await lives.die()
    await lives.go_on()
    assert lives.device.interrupt.sequence == 1
    assert lives.device.interrupt.status == 1
    await ring.called()


# -- What clears a log -----------------------------------------------------------------------------


async def reset_device(lives: Lives) -> None:
    """Write 0 to Status."""
    await lives.guest.bus.access([writing(STATUS, 0)])


async def stop_queue(lives: Lives) -> None:
    """Write 0 to QueueReady."""
    await lives.guest.bus.access([writing(QUEUE_SEL, 0), writing(QUEUE_READY, 0)])


async def reset_queue(lives: Lives) -> None:
    """Write 1 to QueueReset."""
    await lives.guest.bus.access([writing(QUEUE_SEL, 0), writing(QUEUE_RESET, 1)])


async def reset_by_rpc(lives: Lives) -> None:
    """Reset as DeviceService.Reset does."""
    lives.device.begin_reset()


class LocalLogs:
    """The logs as the guest sees them."""

    def __init__(self, lives: Lives) -> None:
        self._size = logs_size(lives.model.queue_size_max)
        self._memory = GuestMemory([(lives.guest.logs, 0, self._size, 0)])

    def in_use(self, queue: int) -> bool:
        """Say whether the log of a queue is in use: its version is 1."""
        start = (0, InFlightLog.length(SIZES[0], packed=True))[queue]
        return self._memory.read(start + 8, 2) == b"\1\0"

    def scribble(self, offset: int, data: bytes) -> None:
        """Write somewhere."""
        offset %= self._size
        self._memory.write(offset, data[: self._size - offset])


def log_is_in_use(lives: Lives, queue: int = 0) -> bool:
    """Say whether the log of a queue is in use."""
    return LocalLogs(lives).in_use(queue)


Clear = Callable[[Lives], Awaitable[None]]
CLEARING = [reset_device, stop_queue, reset_queue, reset_by_rpc]


@pytest.mark.parametrize("clear", CLEARING)
async def test_the_end_of_a_queue_clears_its_log(lives: Lives, clear: Clear) -> None:
    """A reset of device or queue, or QueueReady 0: the next life of the queue begins clean."""
    ring, other = await lives.begin(8, 8)
    add(ring, 3)
    await until_held(lives, 3, ring)
    add(other, 1)
    await until_held(lives, 4, other)
    assert log_is_in_use(lives, 0)
    assert log_is_in_use(lives, 1)
    await clear(lives)
    assert not log_is_in_use(lives, 0)
    assert log_is_in_use(lives, 1) == (clear in {stop_queue, reset_queue})


@pytest.mark.parametrize("clear", [reset_device, stop_queue])
async def test_a_device_killed_in_a_reset_leaves_a_log_that_is_cleared(
    lives: Lives, clear: Clear
) -> None:
    """The queue is not ready in the new process, and is told so: by Status 0 or QueueReady 0."""
    (ring,) = await lives.begin(8)
    add(ring, 3)
    await until_held(lives, 3, ring)
    await lives.die()
    await lives.guest.attach(lives.attach())
    assert log_is_in_use(lives)
    await clear(lives)
    assert not log_is_in_use(lives)


async def test_what_is_not_ready_is_cleared_by_restoring(lives: Lives) -> None:
    """A log without its queue is that of a queue which the guest had given up."""
    (ring,) = await lives.begin(8)
    add(ring, 3)
    await until_held(lives, 3, ring)
    await lives.die()
    lives.guest.bus.writes.clear()
    await lives.go_on()
    assert not log_is_in_use(lives)


async def test_attaching_and_detaching_clear_nothing(lives: Lives) -> None:
    """Neither says that the guest has given a queue up."""
    (ring,) = await lives.begin(8)
    add(ring, 3)
    await until_held(lives, 3, ring)
    for _ in range(3):
        await lives.die()
        await lives.guest.attach(lives.attach())
    assert log_is_in_use(lives)


@pytest.mark.parametrize("without", KINDS.values(), ids=KINDS.keys())
async def test_a_guest_that_begins_anew_may_choose_another_ring(lives: Lives, without: int) -> None:
    """Format and size of a queue are chosen after each reset."""
    (ring,) = await lives.begin(16, without=without)
    add(ring, 3)
    await until_held(lives, 3, ring)
    (ring,) = await lives.guest.bring_up(4, without=KINDS["split"] ^ without)
    assert lives.model.tokens == []
    tokens = add(ring, 2)
    await until_held(lives, 2, ring)
    await lives.die()
    await lives.go_on()
    assert lives.model.tokens == tokens


# -- Hostile logs ----------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    pieces=st.lists(
        st.tuples(st.integers(0, 1 << 14), st.binary(min_size=1, max_size=64)), min_size=1
    ),
    without=st.sampled_from(list(KINDS.values())),
)
async def test_any_bytes_are_a_log_or_a_fault(
    pieces: list[tuple[int, bytes]], without: int
) -> None:
    """A queue is served, with chains that are in the ring, or the device asks for a reset."""
    lives = Lives()
    try:
        (ring,) = await lives.begin(8, without=without)
        add(ring, 3)
        await lives.die()
        logs = LocalLogs(lives)
        for offset, data in pieces:
            logs.scribble(offset, data)
        writes = list(lives.guest.bus.writes)
        await lives.guest.attach(lives.attach())
        for offset, width, value in writes:
            lives.device.write(offset, width, value)
        assert len(lives.model.held) <= 8
        broken = bool(lives.device.read(STATUS.offset, 4) & Status.DEVICE_NEEDS_RESET)
        assert broken == (lives.device.interrupt.fault is not None)
    finally:
        await lives.guest.close()
        lives.device.close()


async def test_a_bad_log_is_named(lives: Lives) -> None:
    """The fault says which queue, and what is wrong with its log."""
    await lives.begin(8)
    await lives.die()
    LocalLogs(lives).scribble(8, b"\7\0")
    writes = list(lives.guest.bus.writes)
    await lives.guest.attach(lives.attach())
    for offset, width, value in writes:
        lives.device.write(offset, width, value)
    fault = lives.device.interrupt.fault or ""
    assert "queue 0 can't be served" in fault
    assert "in-flight log" in fault
    assert "version" in fault
