"""The virtio input device (virtio 1.4, 5.8): a keyboard, mouse, tablet or touch screen.

https://docs.oasis-open.org/virtio/virtio/v1.4/virtio-v1.4.html

A packet goes: InputService.Inject (input_service) -> a stream (input_stream) -> checked
(input_checks) -> accepted, in order (input_inject, input_held) -> the waiting room and out of it
(input_delivery) -> the driver's buffers (input_rings) -> its interrupt. Everything runs on the
event loop's thread, so that each step is one piece.

Threats and known gaps:
- A driver writes anything to the rings: they are checked natively; chains that break 5.8.6.1 are
  counted and given back; what it sends is checked against the personality. One that posts no
  buffers makes packets wait, in a bounded room.
- A driver that keeps its queues busy costs this process time, a bounded piece in each turn of the
  event loop: there is no rate limit.
- Whoever reaches the address of InputService can type: it has no authentication of its own, so
  listen on a unix socket or a private network.
- Streams share the device: keys are counted, touches are not. Two streams that use one slot at the
  same time take the touch from one another.
- A driver that goes away takes what it has seen with it: keys that are held then are up for the
  next one, until they are pressed again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh_native import Interrupt

from virtmesh.attach.eventfd import drain
from virtmesh.input.config import answers
from virtmesh.input.held_keys import ABS_MT_SLOT, Ledger
from virtmesh.input.injection import Injection
from virtmesh.input.output import Output
from virtmesh.input.rings import EventRing, StatusRing
from virtmesh.input.settings import OFFERED, InputOptions
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.input import spec as virtio_input
from virtmesh_common.input.spec import EVENTQ, STATUSQ, InputFeature

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import IntFlag

    from virtmesh_native import GuestMemory, QueueConfig

    from virtmesh.input.personality import Personality
    from virtmesh.virtio.device import SharedMemory
    from virtmesh_common.registers import Register

__all__ = ["InputModel", "InputOptions"]


class InputModel:
    """An input device. Implements virtmesh.virtio.device.VirtioDevice."""

    kind = "input"
    device_id = virtio_input.VIRTIO_ID_INPUT
    family: type[IntFlag] = InputFeature
    config = virtio_input.CONFIG
    config_generation = 0  # Nothing changes but what the driver itself selects.
    shared_memory: Mapping[int, SharedMemory] = {}

    def __init__(self, name: str, options: InputOptions, personality: Personality) -> None:
        self.name = name
        self.options = options
        self.device_features = int(OFFERED) & ~options.without
        self.personality = personality
        self.text = options.name_text or personality.name
        """The name that the driver reads."""
        self.queue_size_max = (options.queue_size, options.queue_size)
        self.interrupt = Interrupt()
        self.notifications = 0
        ledger = Ledger(has_slots=ABS_MT_SLOT in personality.axes)
        self.injection = Injection(ledger, options.waiting, self.interrupt)
        self.output = Output(personality, self.interrupt)
        self._answers = answers(personality, self.text, options.serial)
        self._select = self._subsel = 0
        self._kicks: dict[int, int | None] = {}
        """Queues that are served, and their eventfds."""
        self._rings: dict[int, EventRing | StatusRing] = {}
        self._bases: dict[int, int] = {}
        """Where queues that were stopped can go on."""

    # -- Features and configuration space -----------------------------------------------------

    def missing_feature(self, features: int) -> str:
        """Name a feature that the subset lacks: none, any subset will do."""
        return ""

    def negotiate(self, features: int) -> None:
        """Take the features: they change the rings alone."""

    def reset(self) -> None:
        """Select nothing; the lights go out with their driver."""
        self._select = self._subsel = 0
        self.output.lights_off()

    def read_config(self, field: Register) -> int:
        """Read a field of the configuration space (5.8.4); bytes of `u` beyond `size` are 0."""
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

    # -- Queues ---------------------------------------------------------------------------------

    def start_queue(
        self, index: int, memory: GuestMemory, config: QueueConfig, kick: int | None
    ) -> None:
        """Serve a queue from now on."""
        recorder = self.interrupt.recorder
        if index == EVENTQ:
            self._rings[index] = ring = EventRing(memory, config, recorder)
            self.injection.start(ring, self.options.queue_size)
        else:
            self._rings[index] = status_ring = StatusRing(memory, config, recorder)
            self.output.start(status_ring)
        self._kicks[index] = kick
        if kick is not None:
            asyncio.get_running_loop().add_reader(kick, self._kicked, index, kick)

    def kick(self, index: int) -> None:
        """Look at a queue now."""
        if index == EVENTQ:
            self.injection.pump()
        elif index == STATUSQ:
            self.output.pump()

    def request_stop(self, index: int) -> None:
        """Stop a queue: nothing is being executed, so that it takes no time."""
        if index not in self._kicks:
            return
        kick = self._kicks.pop(index)
        if kick is not None:
            asyncio.get_running_loop().remove_reader(kick)
        self._bases[index] = self._rings.pop(index).base
        if index == EVENTQ:
            self.injection.stop()
        else:
            self.output.stop()

    def is_stopped(self, index: int) -> bool:
        """Say whether a queue is stopped."""
        return index not in self._kicks

    def queue_base(self, index: int) -> int:
        """Return where a stopped queue can go on."""
        return self._bases.get(index, 0)

    def join(self, index: int) -> None:
        """Do nothing: a queue stops at once."""

    def _kicked(self, index: int, kick: int) -> None:
        """Hear a queue's eventfd."""
        if drain(kick):
            self.notifications += 1
            self.interrupt.recorder.record(
                trace_pb2.EVENT_KIND_NOTIFY, detail=trace_pb2.NOTIFY_WAY_EVENTFD, queue=index
            )
        self.kick(index)

    # -- Counters, end ------------------------------------------------------------------

    @property
    def requests(self) -> int:
        """Events delivered and events taken: each is a request of the driver."""
        return self.injection.delivery.events_delivered + self.output.events

    def close(self) -> None:
        """Do nothing: nothing is held when the queues are stopped."""
