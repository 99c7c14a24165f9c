"""The driver of virtio input devices (virtio 1.4, 5.8).

https://docs.oasis-open.org/virtio/virtio/v1.4/virtio-v1.4.html

Before the device goes live, the event queue is filled with buffers of one event each. The interrupt
handler reads a buffer that comes back and posts it again at once, so that slow readers of events
never slow the device down. Orders to the device, such as lights, go through the status queue, one
event each.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from virtmesh.drivers.interrupt_mode import InterruptMode
from virtmesh.drivers.pool import Pool
from virtmesh.drivers.virtio import VirtIODriver
from virtmesh.input.info import InputInfo, read_info
from virtmesh.input.input_device import InputDevice, Lives
from virtmesh.virtio.queue import VirtQueue
from virtmesh_common.errors import QueueUnusable, RingCorrupt, VirtmeshError
from virtmesh_common.evdev import TYPES, name_of
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.spec import EVENT, EVENTQ, STATUSQ, InputFeature

if TYPE_CHECKING:
    from virtmesh.attach.bus import Bus

EVENTQ_SIZE_MAX = 1024
"""Most entries of the event queue that are used: the longest packet that our devices send."""
STATUSQ_SIZE_MAX = 16
"""Most entries of the status queue that are used: orders under way."""
EV_LED = TYPES["EV_LED"]


class VirtIOInput(VirtIODriver, InputDevice):
    """A virtio keyboard, mouse, tablet or touch screen. `info` is there once it is started."""

    family = InputFeature
    # An event may come at any time, so polling never ends. A fast USB mouse is polled as often.
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
        """Buffers that came back with more or less than one event."""
        self._buffers = 0
        self._memory = memoryview(b"")
        self._posted: dict[int, int] = {}
        self._returned: list[int] = []
        self._received: list[int] = []
        self._slots: Pool[int] = Pool(())
        self._orders: dict[int, tuple[int, asyncio.Future[None]]] = {}

    @property
    def facts(self) -> list[str]:
        """The name that the device reports."""
        return [f"input: {self.info.name}"]

    async def set_up(self) -> None:
        """Read the configuration, set the queues up, and post a buffer for each entry."""
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
        """Notify the device of its buffers: before DRIVER_OK that is forbidden (3.1.1)."""
        self.log.go_on()
        self.notify(self._eventq)

    async def set_led(self, led: int, *, on: bool) -> None:
        """Turn a light on or off."""
        lights = self.info.codes.get(EV_LED, frozenset())
        if led not in lights:
            has = ", ".join(name_of(EV_LED, one) for one in sorted(lights)) or "none"
            raise BadEvent(f"{self.name} has no light with code {led}; its lights are: {has}")
        await self._order(EV_LED, led, int(on))

    def completed(self, queue: VirtQueue, token: int, written: int) -> None:
        """Read the event of a buffer, or complete an order."""
        if queue is self._statusq:
            self._obeyed(token)
            return
        number = self._posted.pop(token, None)
        if number is None:
            raise RingCorrupt(
                f"{self.name} used buffer {token} of the event queue, which it does not have"
            )
        self._returned.append(number)
        if written != EVENT.size:
            # What was not written is left over from an earlier event (2.7.8.2).
            self.malformed += 1
            return
        kind, code, value = EVENT.unpack_from(self._memory, number * EVENT.size)
        self._received.append(kind << 48 | code << 32 | value & 0xFFFF_FFFF)

    def popped(self, queue: VirtQueue) -> None:
        """Post the buffers again, then give the events to the readers."""
        if queue is self._eventq:
            for number in self._returned:
                self._post(number)
            self._returned.clear()
            self.notify(queue)
            self._hand_out()

    def keep(self) -> Lives:
        """Leave the log, and who reads it, to the next process of the device."""
        return self.lives

    def take_over(self, kept: object) -> None:
        """Go on with the log of the process before."""
        if isinstance(kept, Lives):
            self.lives = kept

    def abandon(self, error: VirtmeshError) -> None:
        """Fail every order, and every reader once it has read what came."""
        self._hand_out()
        self.log.fail(error.again)
        self._fail_orders(error)

    def orphan(self, error: VirtmeshError) -> None:
        """Take what the process had delivered; fail orders, and readers without patience."""
        self._take_rest()
        self.log.fail(error.again, comes_back=True)
        self.lives.replaced += 1
        self._fail_orders(error)

    def _take_rest(self) -> None:
        """Take the events that were used without an interrupt: no buffer is posted any more."""
        with suppress(RingCorrupt):
            while used := self._eventq.pop_used() if self.queues else []:
                for token, written in used:
                    self.completed(self._eventq, token, written)
                self.requests += len(used)
        self._hand_out()

    def _fail_orders(self, error: VirtmeshError) -> None:
        """Fail every order."""
        self._slots.fail(error.again)
        for _, done in self._orders.values():
            if not done.done():
                done.set_exception(error.again())
        self._orders.clear()

    async def close(self) -> None:
        """Stop, and release the view of RAM."""
        await super().close()
        self._memory.release()

    async def _set_up_queue(self, index: int, size_max: int) -> VirtQueue:
        """Set a queue up. Errors: QueueUnusable."""
        offered = await self.header.queue_size_max(index)
        if not offered:
            raise QueueUnusable(
                f"{self.name} has no queue {index}; an input device has queues {EVENTQ} and"
                f" {STATUSQ} (5.8.2)"
            )
        size = min(1 << offered.bit_length() - 1, size_max)
        queue = await VirtQueue.set_up(self.header, index, size, chain_max=1)
        self.queues.append(queue)
        return queue

    def _post(self, number: int) -> None:
        """Post a buffer. Errors: RingCorrupt."""
        address = self._buffers + number * EVENT.size
        token = self._eventq.add([], [(address, EVENT.size)])
        if token is None:
            raise RingCorrupt(
                f"the event queue of {self.name} is full, although buffer {number} is not in it"
            )
        self._posted[token] = number

    def _hand_out(self) -> None:
        """Give the readers the events that were received."""
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
        """Write an event to its slot, add it to the status queue, and return its token."""
        with self.bus.ram.view(slot, EVENT.size) as buffer:
            EVENT.pack_into(buffer, 0, kind, code, value)
        token = self._statusq.add([(slot, EVENT.size)], [])
        if token is None:
            raise RingCorrupt(
                f"the status queue of {self.name} is full, although slot {slot:#x} is not in it"
            )
        return token

    def _obeyed(self, token: int) -> None:
        """Complete an order, and give its slot to the next."""
        slot, done = self._orders.pop(token, (0, None))
        if done is None:
            raise RingCorrupt(
                f"{self.name} used buffer {token} of the status queue, which it does not have"
            )
        if not done.done():
            done.set_result(None)
        self._slots.give(slot)
