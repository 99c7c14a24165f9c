"""VirtQueue: where its parts lie, and when it rings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh.attach.guest_ram import Ram
from virtmesh.machine import DoorbellKind
from virtmesh.testing.local_bus import LocalBus
from virtmesh.testing.scripted_disk import ScriptedDisk
from virtmesh.virtio.layout import QueueLayout
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh.virtio.mmio_driver import VirtIOHeader
from virtmesh.virtio.queue import VirtQueue
from virtmesh_common.blk.spec import BlkFeature
from virtmesh_common.errors import RingCorrupt
from virtmesh_common.virtio.features import Feature


@given(
    base=st.integers(0, 1 << 40).map(lambda page: page * 4096),
    size=st.integers(0, 15).map(lambda exponent: 1 << exponent),
    indirect=st.integers(0, 64),
    packed=st.booleans(),
)
def test_areas_are_aligned_and_disjoint(
    base: int, size: int, indirect: int, *, packed: bool
) -> None:
    """Each area has the size and at least the alignment that 2.7 and 2.8.10.1 demand."""
    layout = QueueLayout.place(base, size, indirect, packed=packed)

    areas = [
        (layout.descriptor_area, 16 * size, 16),
        (layout.driver_area, 4 if packed else 6 + 2 * size, 4 if packed else 2),
        (layout.device_area, 4 if packed else 6 + 8 * size, 4),
        (layout.indirect_area or base + layout.length, 16 * size * indirect, 16),
    ]
    position = base
    for address, length, alignment in areas:
        assert address % alignment == 0
        assert address >= position
        position = address + length
    assert position <= base + layout.length
    assert (layout.indirect_area is None) == (indirect == 0)


class QuietDisk(ScriptedDisk):
    """A disk that hears its doorbell and does nothing."""

    def __init__(self) -> None:
        super().__init__(features=Feature.VIRTIO_F_VERSION_1)
        self.rings = 0

    def kick(self, index: int) -> None:
        """Count."""
        self.rings += index + 1


async def make_queue(model: ScriptedDisk, ram: Ram) -> tuple[VirtQueue, LocalBus]:
    """Bring a device up with one queue of four entries."""
    bus = LocalBus(VirtioMmio(model), ram, DoorbellKind.RPC)
    header = VirtIOHeader(bus)
    await header.negotiate(Feature.VIRTIO_F_VERSION_1, 0, BlkFeature)
    queue = await VirtQueue.set_up(header, 0, 4, chain_max=3)
    await header.go_live()
    return queue, bus


async def test_a_queue_takes_chains_until_it_is_full() -> None:
    """Without indirect descriptors each buffer takes an entry; what does not fit gets None."""
    with Ram(1 << 20) as ram:
        queue, bus = await make_queue(QuietDisk(), ram)
        page = ram.pages.allocate(4096)

        tokens = [queue.add([(page, 16)], [(page + 16, 1)]) for _ in range(3)]

        assert tokens[2] is None
        assert len(set(tokens[:2])) == 2
        assert queue.in_flight == 2
        assert not queue.can_pop()
        await bus.close()


async def test_used_chains_come_back_with_their_token() -> None:
    """pop_used gives the token of add and the bytes written; then the queue has room again."""
    with Ram(1 << 20) as ram:
        model = ScriptedDisk(features=Feature.VIRTIO_F_VERSION_1, hold=True)
        queue, bus = await make_queue(model, ram)
        page = ram.pages.allocate(4096)
        ram.guest_memory.write(page, (8).to_bytes(16, "little"))

        token = queue.add([(page, 16)], [(page + 16, 21)])
        queue.notify()
        (request,) = await model.arrived(1)
        model.answer(request)

        assert queue.can_pop()
        assert queue.pop_used() == [(token, 21)]
        assert queue.in_flight == 0
        await bus.close()


async def test_a_device_that_uses_what_it_was_not_given_is_caught() -> None:
    """A used index that runs ahead is RingCorrupt, not a token."""
    with Ram(1 << 20) as ram:
        queue, bus = await make_queue(QuietDisk(), ram)
        ram.guest_memory.write(queue.layout.device_area + 2, (3).to_bytes(2, "little"))

        with pytest.raises(RingCorrupt):
            queue.pop_used()
        await bus.close()
