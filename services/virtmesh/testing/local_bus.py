"""A bus to a device model in the same process: real shared memory, but no sockets or services.

It is for tests of drivers and device models, and for scripts that use a device directly:

    device = devices.blk.make("vda", image=Path("disk.img"), ...)
    with Ram(16 << 20) as ram:
        bus = LocalBus(device, ram)
        driver = VirtIOBlk(bus)
        bus.on_interrupt(driver.handle_irq)
        await driver.start()
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh.attach.bus import BATCH_LIMIT, Access, Bus, columns
from virtmesh.attach.client import AttachmentEventfds
from virtmesh.attach.eventfd import drain
from virtmesh.attach.line import LineObserver
from virtmesh.attach.notifier import CallNotifier, DoorbellKind, EventfdNotifier, Notifier
from virtmesh.host.batch import BatchExecutor
from virtmesh.mmio.device import Attachment
from virtmesh.mmio.inflight_logs import InFlightLogs
from virtmesh_common.errors import DeviceLost
from virtmesh_common.virtio.mmio import (
    INTERRUPT_CONFIG_CHANGE,
    INTERRUPT_USED_BUFFER,
    QUEUE_NOTIFY,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.attach.guest_ram import Ram
    from virtmesh.mmio.device import Device


class LocalBus(Bus):
    """An attachment to a device model in this process. Errors: BadDoorbell, MemoryRefused.

    `inflight_logs` is what virtmesh.mmio.inflight_logs.make_logs has made, and the caller keeps it.

    `trace` has every access in order, with the value that was read or written. A test can compare
    it with what a driver should do.
    """

    def __init__(
        self,
        device: Device,
        ram: Ram,
        doorbell: DoorbellKind = DoorbellKind.EVENTFD,
        *,
        inflight_logs: int | None = None,
    ) -> None:
        self.name = device.description.name
        self.ram = ram
        queues = len(device.description.queue_size_max)
        self.vectored = doorbell is DoorbellKind.EVENTFD and queues > 0
        self.lost: asyncio.Future[DeviceLost] = asyncio.get_running_loop().create_future()
        self.trace: list[Access] = []
        self._device = device
        self._executor = BatchExecutor(device)
        self._handler: Callable[[int], object] | None = None
        self._doorbells = AttachmentEventfds()
        self._readers: list[int] = []
        self._line = LineObserver()
        if self.vectored:
            self._doorbells = AttachmentEventfds.make(queues)
        self._inflight_logs = (
            None
            if inflight_logs is None
            else InFlightLogs(
                inflight_logs,
                device.description.queue_size_max,
                device.description.kept_state_bytes,
            )
        )
        device.attach(
            Attachment(
                driver_name="local",
                memory=ram.guest_memory,
                doorbells=self._doorbells.queues,
                config_call=self._doorbells.config_call,
                inflight_logs=self._inflight_logs,
            )
        )
        self._doorbell = self._make_doorbell(doorbell)
        self._listen()

    async def access(self, batch: Sequence[Access]) -> list[int]:
        """Execute a batch of accesses. Returns a value for each. Errors: RegisterError."""
        if len(batch) > BATCH_LIMIT:
            raise ValueError(
                f"{len(batch)} accesses do not fit into a batch: send at most {BATCH_LIMIT}"
            )
        self.check()
        done = await self._executor.execute_waiting(*columns(batch), self.check)
        for one, value in zip(batch, done.values, strict=False):
            write = one.value is not None
            self.trace.append(one if write else Access(one.offset, one.width, value))
        if done.error is not None:
            index = len(done.values)
            raise type(done.error)(done.error.message, index=index) from done.error
        return done.values

    def notify(self, queue: int) -> None:
        """Notify a queue."""
        self._doorbell.ring(queue)

    def on_interrupt(self, handler: Callable[[int], object]) -> None:
        """Set the function that is called with the cause of each interrupt."""
        self._handler = handler

    def lose(self, how: str = "a test ended the attachment") -> None:
        """End the attachment, as if the process of the device had ended."""
        if not self.lost.done():
            self.lost.set_result(DeviceLost(f"{self.name} is lost: {how}", device=self.name))

    async def close(self) -> None:
        """Reset and detach the device."""
        self.lose("the bus was closed")
        self._doorbell.close()
        loop = asyncio.get_running_loop()
        while self._readers:
            loop.remove_reader(self._readers.pop())
        self._device.interrupt.observed = False
        if self._inflight_logs is not None:
            self._inflight_logs.keep()
        self._device.begin_reset()
        while not await self._device.reset_done():
            pass  # A request uses the memory.
        self._device.detach()
        self._doorbells.close()

    def _make_doorbell(self, kind: DoorbellKind) -> Notifier:
        """Make the notifier for a kind of doorbell."""
        if kind is DoorbellKind.EVENTFD:
            return EventfdNotifier(
                {queue: one.kick for queue, one in self._doorbells.queues.items()}
            )

        async def ring(queues: Sequence[int]) -> None:
            for queue in queues:
                if kind is DoorbellKind.RPC:
                    self._device.notify(queue)
                else:
                    await self.access([Access(QUEUE_NOTIFY.offset, QUEUE_NOTIFY.size, queue)])

        return CallNotifier(ring, lambda error: self.lose(f"its doorbell failed: {error}"))

    def _listen(self) -> None:
        """Listen for interrupts: on an eventfd for each cause, or on the wake descriptor."""
        if self._doorbells.config_call is not None:
            for one in self._doorbells.queues.values():
                self._listen_to(one.call, lambda: INTERRUPT_USED_BUFFER)
            self._listen_to(self._doorbells.config_call, lambda: INTERRUPT_CONFIG_CHANGE)
            return
        self._device.interrupt.observed = True
        self._line_causes()  # From now on, changes.
        self._listen_to(self._device.interrupt.wake_fd, self._line_causes)

    def _line_causes(self) -> int | None:
        """Return what is pending after an interrupt; None if the line changed otherwise."""
        interrupt = self._device.interrupt
        sequence, causes = interrupt.sequence, interrupt.status
        return causes if self._line.shows_interrupt(sequence, causes) else None

    def _listen_to(self, descriptor: int, look: Callable[[], int | None]) -> None:
        """Call the handler when an eventfd is signalled and `look` returns a cause."""

        def signalled() -> None:
            if drain(descriptor) and self._handler is not None and not self.lost.done():
                causes = look()
                if causes is not None:
                    self._handler(causes)

        asyncio.get_running_loop().add_reader(descriptor, signalled)
        self._readers.append(descriptor)
