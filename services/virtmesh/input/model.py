"""The virtio input device (virtio 1.4, 5.8): a keyboard, mouse, tablet or touch screen.

https://docs.oasis-open.org/virtio/virtio/v1.4/virtio-v1.4.html

The way of a packet, and the file of each step: InputService.Inject (service), one stream (stream),
its checks (checks), what other injectors hold (held_keys), its place in the order and its outcome
(injection), the driver's buffers (event_buffers), the interrupt (virtmesh.virtio.queue_device).
Everything runs on the thread of the event loop, so nothing comes between the parts of a step.

Threats and known gaps:
- A driver writes anything to the rings: they are checked natively. Chains that break 5.8.6.1 are
  counted and given back. The events that it sends are checked against the personality. A driver
  that posts no buffers makes packets wait, in a bounded room.
- A driver that keeps its queues busy costs this process time, a bounded part of each turn of the
  event loop: there is no rate limit.
- Whoever reaches the address of InputService can type: it has no authentication of its own, so
  listen on a unix socket or a private network.
- Streams share the device: keys are counted, touches are not. Two streams that use one slot at the
  same time take the touch from one another.
- The next driver does not learn what its predecessor saw: keys that are held when a driver goes
  away are up for the next one, until they are pressed again.
- A process of this device that takes the place of one that was killed knows nothing of the keys
  that were held, the packets that waited and the lights: the guest goes on with what it has seen.
  Where our kernel drives the device, its service tells the new process of the keys, and has the
  packets (lasting.py).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from virtmesh.input.config import answers, identity
from virtmesh.input.held_keys import HeldKeys
from virtmesh.input.injection import Injection
from virtmesh.input.output import Output
from virtmesh.input.settings import OFFERED, InputOptions
from virtmesh.virtio.queue_device import QueueDevice
from virtmesh_common.fault.words import INPUT as FAULTS
from virtmesh_common.fault.words import bits_of
from virtmesh_common.input import spec as virtio_input
from virtmesh_common.input.release import ABS_MT_SLOT, resting_values
from virtmesh_common.input.spec import EVENT, EVENTQ, InputFeature

if TYPE_CHECKING:
    from enum import IntFlag

    from virtmesh.input.personality import Personality
    from virtmesh.virtio.queue_device import Chain, ServedQueue
    from virtmesh_common.registers import Register

__all__ = ["InputModel", "InputOptions"]

PACKETS = bits_of(*FAULTS)
"""The faults on demand that packets can have."""


class InputModel(QueueDevice):
    """An input device."""

    kind = "input"
    device_id = virtio_input.VIRTIO_ID_INPUT
    family: type[IntFlag] = InputFeature
    queue_names = ("event queue", "status queue")
    config = virtio_input.CONFIG
    malformed_rule = "input-status-buffer"

    def __init__(self, name: str, options: InputOptions, personality: Personality) -> None:
        super().__init__(name, (options.queue_size,) * 2, int(OFFERED) & ~options.without)
        self.options = options
        self.personality = personality
        self.text = options.name_text or personality.name
        """The name that the driver reads."""
        held_keys = HeldKeys(
            has_slots=ABS_MT_SLOT in personality.axes, resting=resting_values(personality.axes)
        )
        self.injection = Injection(
            held_keys,
            options.waiting,
            partial(self.kick, EVENTQ),
            partial(self.interrupt.take_fault, PACKETS),
        )
        self.output = Output(personality)
        self._answers = answers(personality, self.text, options.serial)
        self.identity = identity(self._answers)
        self._select = self._subsel = 0

    @property
    def requests(self) -> int:
        """Events delivered and events taken: each is a request of the driver."""
        return self.injection.events_delivered + self.output.events

    def reset(self) -> None:
        """Select nothing; the lights go out with their driver."""
        self._select = self._subsel = 0
        self.output.lights_off()

    # -- Configuration space (5.8.4) ----------------------------------------------------------

    def read_config(self, field: Register) -> int:
        """Read a field of the configuration space; bytes of `u` beyond `size` are 0."""
        if field is virtio_input.SELECT:
            return self._select
        if field is virtio_input.SUBSEL:
            return self._subsel
        answer = self._answers.get((self._select, self._subsel), b"")
        if field is virtio_input.SIZE:
            return len(answer)
        return int.from_bytes(answer, "little") if field is virtio_input.U else 0

    def write_config(self, field: Register, value: int) -> None:
        """Write `select` or `subsel`: any value may be asked for (5.8.5.2)."""
        if field is virtio_input.SELECT:
            self._select = value
        else:
            self._subsel = value

    # -- Queues (5.8.6) -----------------------------------------------------------------------

    def queue_started(self, queue: ServedQueue) -> None:
        """Have a driver for the events that wait."""
        if queue.index == EVENTQ:
            self.injection.start(queue, self.options.queue_size)

    def queue_stopped(self, index: int) -> None:
        """Keep events for the next driver."""
        if index == EVENTQ:
            self.injection.stop()

    def look(self, queue: ServedQueue) -> bool:
        """Fill buffers of the event queue as far as events wait; take all of the status queue."""
        if queue.index == EVENTQ:
            return self.injection.deliver()
        return super().look(queue)

    def take(self, chain: Chain) -> None:
        """Take an event of the driver: the first 8 bytes of a chain of the status queue."""
        self.output.take(EVENT.unpack(chain.read(EVENT.size)))
        chain.push()
