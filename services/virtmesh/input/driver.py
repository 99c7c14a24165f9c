"""The driver of virtio input devices (virtio 1.4, 5.8).

https://docs.oasis-open.org/virtio/virtio/v1.4/virtio-v1.4.html

The event queue is full of buffers of one event each before the device goes live. A buffer that
comes back is read and posted again at once, in the interrupt handler: whoever reads events, and how
fast, is nothing the device ever notices. Orders to the device, such as lights, go through the
status queue, one event each.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh.drivers.pool import Pool
from virtmesh.drivers.virtio import VirtIODriver
from virtmesh.input.info import InputInfo, read_info
from virtmesh.input.input_device import InputDevice
from virtmesh.machine import InterruptMode
from virtmesh.virtio.queue import VirtQueue
from virtmesh_common.errors import QueueUnusable, RingCorrupt, VirtmeshError
from virtmesh_common.evdev import TYPES, name_of
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.spec import EVENT, EVENTQ, STATUSQ, VIRTIO_ID_INPUT, InputFeature

if TYPE_CHECKING:
    from virtmesh.attach.bus import Bus

EVENTQ_SIZE_MAX = 1024
"""Most entries of the event queue used: the longest packet that devices of ours send."""
STATUSQ_SIZE_MAX = 16
"""Most entries of the status queue used, each an order under way."""
EV_LED = TYPES["EV_LED"]


class VirtIOInput(VirtIODriver, InputDevice):
    """A virtio keyboard, mouse, tablet or touch screen. `info` says which, once it is started."""

    device_id = VIRTIO_ID_INPUT
    family = InputFeature
    # An event may come at any time, so polling never ends: as often as a fast USB mouse is asked.
    poll_pause_s = 0.001

    info: InputInfo

    def __init__(
        self,
        bus: Bus,
        interrupts: InterruptMode = InterruptMode.INTERRUPT,
        *,
        refused: int = 0,
    ) -> None:
        VirtIODriver.__init__(self, bus, interrupts, refused=refused)
        InputDevice.__init__(self)
        self.malformed = 0
        """Buffers that came back with anything but one event."""
        self._buffers = 0
        self._memory = memoryview(b"")
        self._posted: dict[int, int] = {}
        self._returned: list[int] = []
        self._received: list[int] = []
        self._slots: Pool[int] = Pool(())
        self._orders: dict[int, tuple[int, asyncio.Future[None]]] = {}

    @property
    def facts(self) -> list[str]:
        """What the device calls itself."""
        return [f"input: {self.info.name}"]

    async def set_up(self) -> None:
        """Read what the device is, set its queues up, and post a buffer for each entry."""
        self.info = await read_info(self.header)
        self._eventq = await self._set_up_queue(EVENTQ, EVENTQ_SIZE_MAX)
        self._statusq = await self._set_up_queue(STATUSQ, STATUSQ_SIZE_MAX)
        ram, size = self.bus.ram, self._eventq.layout.size
        self._buffers = ram.pages.allocate(size * EVENT.size)
        self._memory = ram.view(self._buffers, size * EVENT.size)
        for number in range(size):
            self._post(number)
        base = ram.pages.allocate(self._statusq.layout.size * EVENT.size)
        self._slots = Pool(base + n * EVENT.size for n in range(self._statusq.layout.size))

    async def ready(self) -> None:
        """Tell the device of the buffers: before it was live it could not be told (3.1.1)."""
        self.notify(self._eventq)

    async def set_led(self, led: int, *, on: bool) -> None:
        """Turn a light on or off."""
        lights = self.info.codes.get(EV_LED, frozenset())
        if led not in lights:
            has = ", ".join(name_of(EV_LED, one) for one in sorted(lights)) or "none"
            raise BadEvent(f"{self.name} has no light {led}: it has {has}")
        await self._order(EV_LED, led, int(on))

    def completed(self, queue: VirtQueue, token: int, written: int) -> None:
        """Take an event out of its buffer, or let an order's task go on."""
        if queue is self._statusq:
            self._obeyed(token)
            return
        number = self._posted.pop(token, None)
        if number is None:
            raise RingCorrupt(f"{self.name} used buffer {token} of the event queue unasked")
        self._returned.append(number)
        if written != EVENT.size:
            # The rest would be left over from an earlier event (2.7.8.2).
            self.malformed += 1
            return
        kind, code, value = EVENT.unpack_from(self._memory, number * EVENT.size)
        self._received.append(kind << 48 | code << 32 | value & 0xFFFF_FFFF)

    def popped(self, queue: VirtQueue) -> None:
        """Post the buffers again, then wake the readers."""
        if queue is self._eventq:
            for number in self._returned:
                self._post(number)
            self._returned.clear()
            self.notify(queue)
            self._hand_out()

    def abandon(self, error: VirtmeshError) -> None:
        """Fail every reader, once it is through with what came, and every order."""
        self._hand_out()
        self.log.fail(error.again)
        self._slots.fail(error.again)
        for _, done in self._orders.values():
            if not done.done():
                done.set_exception(error.again())
        self._orders.clear()

    async def close(self) -> None:
        """Stop, and let go of RAM."""
        await super().close()
        self._memory.release()

    async def _set_up_queue(self, index: int, size_max: int) -> VirtQueue:
        """Set a queue up. Errors: QueueUnusable."""
        offered = await self.header.queue_size_max(index)
        if not offered:
            raise QueueUnusable(f"{self.name} has no queue {index}: an input device has two")
        size = min(1 << offered.bit_length() - 1, size_max)
        queue = await VirtQueue.set_up(self.header, index, size, chain_max=1)
        self.queues.append(queue)
        return queue

    def _post(self, number: int) -> None:
        """Give a buffer to the device. Errors: RingCorrupt."""
        address = self._buffers + number * EVENT.size
        token = self._eventq.add([], [(address, EVENT.size)])
        if token is None:
            raise RingCorrupt(f"the event queue of {self.name} has no room for its own buffers")
        self._posted[token] = number

    def _hand_out(self) -> None:
        """Give the readers what was received."""
        received, self._received = self._received, []
        if received:
            self.log.extend(received)

    async def _order(self, kind: int, code: int, value: int) -> None:
        """Send an event to the device, and wait until it has taken it."""
        slot = await self._slots.take()
        try:
            token = self._send(slot, kind, code, value)
        except BaseException:
            self._slots.give(slot)
            raise
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._orders[token] = slot, done
        self.notify(self._statusq)
        await done

    def _send(self, slot: int, kind: int, code: int, value: int) -> int:
        """Write an event to its slot and add it to the status queue: its token."""
        with self.bus.ram.view(slot, EVENT.size) as buffer:
            EVENT.pack_into(buffer, 0, kind, code, value)
        token = self._statusq.add([(slot, EVENT.size)], [])
        if token is None:
            raise RingCorrupt(f"the status queue of {self.name} has no room for a slot")
        return token

    def _obeyed(self, token: int) -> None:
        """Let the task of an order go on, and give its slot to the next."""
        slot, done = self._orders.pop(token, (0, None))
        if done is None:
            raise RingCorrupt(f"{self.name} used buffer {token} of the status queue unasked")
        if not done.done():
            done.set_result(None)
        self._slots.give(slot)
