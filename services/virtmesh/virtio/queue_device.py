# ruff: noqa: B027 - what a model does not override, the base does by doing nothing
"""The base of a device model whose queues are served on the event loop.

A model sees guest memory (through its chains), its interrupt line and its observer (recorder and
counters). It knows nothing of registers, sessions, calls or metrics. This is a whole entropy device
(virtio 1.4, 5.4):

    class EntropyModel(QueueDevice):
        kind = "entropy"
        device_id = 4
        queue_names = ("requestq",)

        def take(self, chain: Chain) -> None:
            if chain.readable or not chain.writable:
                raise MalformedChain("a request has writable buffers only (5.4.6.1)")
            chain.push(chain.write(os.urandom(min(chain.writable_bytes, 4096))))

    device = VirtioMmio(EntropyModel("rng", (64,)))

Everything runs on the thread of the event loop, and no method waits. A driver can keep its queues
busy for ever: a model takes `chains_per_turn` chains at most in one turn of the loop, and then lets
everybody else have theirs.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import structlog
from virtmesh_native import Interrupt

from virtmesh.attach.eventfd import drain
from virtmesh.virtio.served_queue import Chain, MalformedChain, QueueCounters, ServedQueue
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.errors import DriverViolation, RingCorrupt
from virtmesh_common.virtio.features import TRANSPORT_FEATURES, Feature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from enum import IntFlag

    from virtmesh_native import GuestMemory, QueueConfig, RingState

    from virtmesh.mmio.kept_state import KeptState
    from virtmesh.virtio.device import SharedMemory
    from virtmesh_common.registers import Register

__all__ = ["Chain", "MalformedChain", "QueueCounters", "QueueDevice", "ServedQueue"]

log = structlog.get_logger(__name__)

CHAINS_PER_TURN = 1024
"""Most chains that a model takes in one turn of the event loop, unless it says otherwise."""


class QueueDevice(ABC):
    """Implements virtmesh.virtio.device.VirtioDevice, but for `kind`, `device_id` and `take`.

    A model overrides what its device has more of: configuration space, features, a reset. One that
    takes chains only when it has a use for them overrides `look` as well.
    """

    kind: ClassVar[str]
    device_id: ClassVar[int]
    family: type[IntFlag] = Feature
    """The feature bits of the kind of device; those of the transport if it has none of its own."""
    queue_names: Sequence[str] = ()
    """What messages call the queues, by index."""
    chains_per_turn = CHAINS_PER_TURN
    malformed_rule = ""
    """Name of the rule that a MalformedChain is about (virtmesh.report.rules), if there is one."""
    config: Sequence[Register] = ()
    config_generation = 0
    shared_memory: Mapping[int, SharedMemory] = {}
    identity: Mapping[str, str] = {}
    kept_state_bytes = 0

    def __init__(
        self, name: str, queue_size_max: Sequence[int], features: int = TRANSPORT_FEATURES
    ) -> None:
        self.name = name
        self.queue_size_max = tuple(queue_size_max)
        self.device_features = int(features)
        self.interrupt = Interrupt()
        self.counters = tuple(QueueCounters() for _ in self.queue_size_max)
        """Of each queue, by index."""
        self._queues: dict[int, ServedQueue] = {}
        self._kicks: dict[int, int] = {}
        """The driver's eventfds, by queue."""
        self._next_turns: dict[int, asyncio.Handle] = {}
        """Looks that are due in the next turn of the event loop, by queue."""
        self._states: dict[int, RingState] = {}
        """Where the queues that are stopped can go on."""

    # -- What a model says ------------------------------------------------------------------------

    @abstractmethod
    def take(self, chain: Chain) -> None:
        """Take a chain that the driver made available; `chain.push` it, now or later.

        A MalformedChain that is raised here has the chain counted and given back unused.
        """

    def look(self, queue: ServedQueue) -> bool:
        """Take what a queue has now; return True to look again in the next turn of the loop.

        Interrupts are raised when it returns. Errors: RingCorrupt.
        """
        for _ in range(self.chains_per_turn):
            chain = queue.pop()
            if chain is None:
                return queue.enable_notifications()
            try:
                self.take(chain)
            except MalformedChain as error:
                queue.refuse(chain, str(error), self.malformed_rule)
        queue.disable_notifications()  # The next look comes without one.
        return True

    def queue_started(self, queue: ServedQueue) -> None:
        """Hear that a queue is served from now on. The base does nothing."""

    def queue_stopped(self, index: int) -> None:
        """Hear that a queue is served no more: forget its chains. The base does nothing."""

    def reset(self) -> None:
        """Return to the state before `negotiate`. The base has no state."""

    def take_kept(self, state: KeptState | None) -> None:
        """Take what the last process has kept. The base keeps nothing."""

    def negotiate(self, features: int) -> None:
        """Take the features that were agreed on. Those of the transport only change the rings."""

    def missing_feature(self, features: int) -> str:
        """Name a feature without which this subset makes no sense: none, any subset will do."""
        return ""

    def read_config(self, field: Register) -> int:
        """Read a field of the configuration space. The base has the values after a reset."""
        return field.reset

    def write_config(self, field: Register, value: int) -> None:
        """Write a field of the configuration space. Errors: DriverViolation; the base has none."""
        raise DriverViolation(
            f"{field.name}: {value:#x} was written, but {self.kind} never takes it"
        )

    def close(self) -> None:
        """Release everything. The base holds nothing once its queues are stopped."""

    # -- Queues -----------------------------------------------------------------------------------

    def start_queue(
        self, index: int, memory: GuestMemory, config: QueueConfig, kick: int | None
    ) -> None:
        """Serve a queue, and look at what is there already.

        Errors: DriverViolation for a queue that can't be where `config` says; ValueError for one
        that is served already.
        """
        if index in self._queues:
            raise ValueError(f"queue {index} of {self.name} is served already: stop it first")
        queue = ServedQueue(index, memory, config, self.interrupt, self.counters[index])
        queue.on_fault = self._break
        self._queues[index] = queue
        if kick is not None:
            self._kicks[index] = kick
            asyncio.get_running_loop().add_reader(kick, self._kicked, index, kick)
        self.queue_started(queue)
        self._serve(index)

    def kick(self, index: int) -> None:
        """Look at a queue now. Does nothing if it is not served, or if a look is due already."""
        if index not in self._next_turns:
            self._serve(index)

    def request_stop(self, index: int) -> None:
        """Stop a queue. It takes no time: chains in flight go back to the ring unused."""
        queue = self._queues.pop(index, None)
        if queue is None:
            return
        kick = self._kicks.pop(index, None)
        if kick is not None:
            asyncio.get_running_loop().remove_reader(kick)
        self._states[index] = queue.state
        self._end(queue)

    def abandon(self, index: int) -> None:
        """Stop a queue for a reset: as any other stop."""
        self.request_stop(index)

    def stuck(self, index: int) -> str:
        """Return nothing: no request waits for anything while it is executed."""
        return ""

    def has_held(self, index: int) -> bool:
        """Say no: nothing is tried twice."""
        return False

    def longest(self) -> None:
        """Return nothing: as `stuck`."""

    def is_stopped(self, index: int) -> bool:
        """Say whether a queue is stopped, or never was served."""
        return index not in self._queues

    def queue_state(self, index: int) -> RingState | None:
        """Return where a stopped queue goes on; None if it was never served."""
        return self._states.get(index)

    def join(self, index: int, seconds: float) -> bool:
        """Return True: a queue stops at once."""
        return True

    def _kicked(self, index: int, kick: int) -> None:
        """Hear a queue's eventfd."""
        if drain(kick):
            self.counters[index].notifications += 1
            self.interrupt.recorder.record(
                trace_pb2.EVENT_KIND_NOTIFY, detail=trace_pb2.NOTIFY_WAY_EVENTFD, queue=index
            )
            if self.interrupt.loses_notification(index):
                return
        self.kick(index)

    def _serve(self, index: int) -> None:
        """Look at a queue, interrupt the driver if it asks for that, and arrange the next look."""
        self._next_turns.pop(index, None)
        queue = self._queues.get(index)
        if queue is None or not queue.running:
            return
        queue.collect_interrupts()
        try:
            again = self.look(queue)
        except RingCorrupt as error:
            head, rule = int(error.metadata.get("head", 0)), error.metadata.get("rule")
            if rule:
                self.interrupt.violated(rule, error.message, queue=index, token=head)
            self._break(queue, error.message)
            return
        except Exception as error:
            self._break(queue, f"the model failed: {error!r}")
            raise
        queue.signal()
        if again:
            loop = asyncio.get_running_loop()
            self._next_turns[index] = loop.call_soon(self._serve, index)

    def _break(self, queue: ServedQueue, reason: str) -> None:
        """Serve a queue no more, and ask for a reset (2.1.2). Once: the first reason counts."""
        if not queue.running:
            return
        names = self.queue_names
        name = names[queue.index] if queue.index < len(names) else f"queue {queue.index}"
        log.warning("a queue is broken: the device needs a reset", queue=name, reason=reason)
        self._end(queue)
        self.interrupt.set_fault(f"{name}: {reason}")

    def _end(self, queue: ServedQueue) -> None:
        """Let the model forget a queue, once."""
        if queue.running:
            queue.running = False
            turn = self._next_turns.pop(queue.index, None)
            if turn is not None:
                turn.cancel()
            self.queue_stopped(queue.index)

    # -- Counters ---------------------------------------------------------------------------------

    @property
    def notifications(self) -> int:
        """Notifications received by eventfd."""
        return sum(one.notifications for one in self.counters)

    @property
    def requests(self) -> int:
        """Requests completed, whatever their outcome."""
        return sum(one.requests for one in self.counters)
