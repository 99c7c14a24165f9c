"""A device of the machine, as the CPU has it: attached, set up again when it comes back.

The guest drives the device. This service only keeps the attachment: when the device service goes
away, the board lets the guest wait at its next access; when it is there again, the registers are
written as the guest left them, and the guest goes on. A device that is another one than before, or
that does not take the writes, reads as absent until the guest boots again.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import grpc.aio
import structlog

from virtmesh.attach.restore import config_fields, read_config, read_fingerprint, restore
from virtmesh.cpu.kept_report import KeptReport
from virtmesh.cpu.link import DeviceLink, ask
from virtmesh.kernel.device import LOOK_TIMEOUT_S, MachineDevice, ProbeState, next_pause
from virtmesh.mmio.inflight_logs import make_logs
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import (
    BadStream,
    DeviceLost,
    DeviceNotReady,
    MemoryMissing,
    NotAttached,
    NotRestorable,
    ResetUnderWay,
    ServiceUnavailable,
    ShuttingDown,
    VirtmeshError,
)
from virtmesh_common.interface import RegisterSpace
from virtmesh_common.interface_message import parse_interface

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.attach.guest_ram import Ram
    from virtmesh.attach.restore import Fingerprint
    from virtmesh.cpu.engine import Engine
    from virtmesh.kernel.boot_log import BootLog
    from virtmesh.kernel.tree import DeviceNode
    from virtmesh_common.registers import Register

log = structlog.get_logger(__name__)

COMES_BACK = (
    DeviceLost,
    ServiceUnavailable,
    NotAttached,
    ResetUnderWay,
    ShuttingDown,
    MemoryMissing,
    BadStream,
)
"""Errors that mend themselves when the device service has started again, or moved on."""


class SlotDevice(MachineDevice):
    """One device in a slot of the board. `run` keeps it attached; cancelling that gives it back."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a device of a board is made of
        self,
        node: DeviceNode,
        slot: int,
        engine: Engine,
        ram: Ram,
        driver_name: str,
        boot_log: BootLog,
        events: int,
        settled: Callable[[str], None],
    ) -> None:
        super().__init__(node, boot_log, events)
        self.slot = slot
        self.restorations = 0
        """Times that it was set up again as it was."""
        self.report = KeptReport()
        self._engine = engine
        self._ram = ram
        self._driver_name = driver_name
        self._link: DeviceLink | None = None
        self._logs: int | None = None
        """Descriptor of the in-flight logs. They outlive the device's processes."""
        self._config: tuple[Register, ...] = ()
        self._fingerprint: Fingerprint | None = None
        """What the device was when the guest booted."""
        self._config_changed = False
        """The device has told this guest of a change. A process that ends may have told in vain."""
        self._changes_told = self._changes_read = 0
        """Changes that devices told, and those of them that the fingerprint has."""
        self._refreshing: set[asyncio.Task[None]] = set()
        self._renewed = asyncio.Event()
        self._renewals = 0
        """How often the guest has booted anew."""
        self._settled = settled
        """Called with the name when a guest need not wait for the device any more."""
        self._status = device_pb2.GetStatusResponse()
        self._stats = device_pb2.GetStatsResponse()

    @property
    def driver_name(self) -> str:
        """Who drives it: this CPU, while it is attached."""
        return self._driver_name if self.state is ProbeState.READY else ""

    @property
    def name_as_driver(self) -> str:
        """What this CPU calls itself to the device."""
        return self._driver_name

    @property
    def link(self) -> DeviceLink | None:
        """The attachment that the board has, unless it is about to end."""
        link = self._link
        return None if link is None or link.lost.done() else link

    @property
    def features(self) -> Sequence[str]:
        """Nothing: they are the guest's; the status of the device service has them."""
        return ()

    @property
    def doorbell(self) -> str:
        """How the guest's notifications arrive."""
        return "eventfd" if self.device_id else ""

    @property
    def requests(self) -> int:
        """Requests that its service has completed since it started."""
        return self._stats.requests

    @property
    def interrupts(self) -> int:
        """Interrupts that its service has raised since it started."""
        return self._stats.interrupts

    def ready_driver(self) -> NoReturn:
        """Refuse: the guest drives it. Errors: DeviceNotReady."""
        raise DeviceNotReady(
            f"the guest on the CPU drives {self.node.name}, not this service: do it in the guest",
            state=self.state.name,
        )

    async def _ask(self) -> Callable[[], None]:
        """Ask the device service what it has done."""
        async with open_channel(self.node.endpoint) as channel:
            stub = DeviceServiceStub(channel)
            timeout = LOOK_TIMEOUT_S
            try:
                stats = await stub.GetStats(device_pb2.GetStatsRequest(), timeout=timeout)
                status = await stub.GetStatus(device_pb2.GetStatusRequest(), timeout=timeout)
            except grpc.aio.AioRpcError:
                return partial(self._take, None, None)
        return partial(self._take, stats, status)

    def _take(
        self,
        stats: device_pb2.GetStatsResponse | None,
        status: device_pb2.GetStatusResponse | None,
    ) -> None:
        self._stats = stats or self._stats
        self._note_look(status, in_use=self.state is ProbeState.READY)

    def renew(self) -> None:
        """Attach anew, with the device reset and nothing in flight: the guest is about to boot."""
        self._renewals += 1
        self._forget()
        self.report.forget()
        self.close()
        self._renewed.set()
        if self._link is not None:
            self._move(ProbeState.WAITING, "attached anew, since the guest boots")
            self._link.fail()

    def lose(self) -> None:
        """Drop the attachment: the board could not use it."""
        if self._link is not None:
            self._link.fail()

    async def run(self) -> None:
        """Keep the device attached. When it is lost, attach again, after a pause that grows."""
        pause = 0.0
        while True:
            served = False
            try:
                served = await self._serve()
            except NotRestorable as error:
                await self._give_up(error)
            except VirtmeshError as error:
                back = isinstance(error, COMES_BACK)
                self._move(ProbeState.WAITING if back else ProbeState.FAILED, error.message)
            except OSError as error:
                self._move(ProbeState.FAILED, str(error))
            except Exception:
                log.exception("a fault of the CPU service", device=self.node.name)
                self._move(ProbeState.FAILED, "a fault of the CPU service; its log says more")
            pause = next_pause(self.state, pause, afresh=served)
            await asyncio.sleep(pause)

    def close(self) -> None:
        """Forget the in-flight logs: what is in flight is given up."""
        if self._logs is not None:
            os.close(self._logs)
            self._logs = None

    async def _serve(self) -> bool:
        """Attach, and stay until the device is lost. Returns True. Errors: VirtmeshError."""
        async with AsyncExitStack() as undo:
            renewals = self._renewals
            link = await DeviceLink.open(
                self.node,
                self._ram,
                self._driver_name,
                self._in_flight_logs,
                config_changed=self._config_changed,
            )
            undo.push_async_callback(link.close)
            undo.callback(self._note_change, link, renewals)
            self.device_id, self.kind = link.about.virtio_device_id, link.about.kind
            self.recorder.record(trace_pb2.EVENT_KIND_ATTACH, text=self._driver_name)
            self.attaches += 1
            self._move(ProbeState.PROBING, "being set up")
            await self._set_up(link)
            await self._engine.connect(self.slot, link.channel, link.line, link.kicks)
            self._link = link
            undo.push_async_callback(self._disconnected)
            if renewals != self._renewals:  # It is set up for the guest before this one.
                self._forget()
                self._move(ProbeState.WAITING, "attached anew, since the guest boots")
                return False
            link.on_config_change(self._refresh_soon)
            self._move(ProbeState.READY, "")
            self._settled(self.node.name)
            await link.lost
        if self._fingerprint is not None:
            self._move(ProbeState.WAITING, "its service went away: the guest waits for it")
        return True

    async def _disconnected(self) -> None:
        """Tell the board, before the connection is closed."""
        self._link = None
        self.report.end()
        self.recorder.record(trace_pb2.EVENT_KIND_DETACH, text="its service went away")
        with suppress(VirtmeshError):
            await self._engine.disconnect(self.slot, absent=False)

    async def _set_up(self, link: DeviceLink) -> None:
        """Set the device up as it was. Errors: NotRestorable; DeviceLost; BadStream."""
        if self._fingerprint is None:
            self._config = await self._read_config(link)
            self._fingerprint = await link.run(read_fingerprint(link.about, self._config))
            # The guest has read nothing yet.
            await link.clear_report(begin_anew=True)
            return
        slot = self.slot
        writes = await self._engine.call(
            lambda board: [(offset, width, value) for offset, width, value in board.saved(slot)]
        )
        if self._changes_told > self._changes_read:  # It ended before `_refresh` was through.
            told = self._changes_told
            changed = await link.run(read_config(self._config))
            self._fingerprint = self._fingerprint.with_registers(changed)
            self._changes_read = told
        await link.run(restore(writes, self._fingerprint, link.about, self._config))
        # The writes were the guest's; it made its reads of another process.
        await link.clear_report()
        self.restorations += 1
        self._boot_log.add(f"{self.node.name}: set up as it was, by {len(writes)} writes")

    def _note_change(self, link: DeviceLink, renewals: int) -> None:
        """Note what a device told at its end, if it was for the guest that runs now."""
        if renewals == self._renewals and link.config_changed():
            self._config_changed = True
            self._changes_told += 1

    def _refresh_soon(self) -> None:
        """Begin to read the configuration again: the device has told of a change."""
        self._config_changed = True
        self._changes_told += 1
        task = asyncio.create_task(self._refresh(), name=f"{self.node.name} configuration")
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)

    async def _refresh(self) -> None:
        """Note the configuration as it is now: with it the device is to come back."""
        link, before, told = self._link, self._fingerprint, self._changes_told
        if link is None or before is None:
            return
        try:
            changed = await link.read(read_config(self._config))
        except VirtmeshError as error:
            # A device that is gone meanwhile is compared as it was.
            log.info("the configuration can't be read", device=self.node.name, why=str(error))
            return
        if self._fingerprint is before:
            self._fingerprint = before.with_registers(changed)
            self._changes_read = told
            log.info("the configuration has changed", device=self.node.name)

    def _forget(self) -> None:
        """Forget what the device was for a guest that is gone."""
        self._fingerprint, self._config_changed = None, False
        self._changes_read = self._changes_told

    async def _read_config(self, link: DeviceLink) -> tuple[Register, ...]:
        """Ask which fields of the configuration only the device changes."""
        async with open_channel(self.node.endpoint) as channel:
            answer = await ask(
                DeviceServiceStub(channel).DescribeInterface,
                device_pb2.DescribeInterfaceRequest(),
                self.node.endpoint,
            )
        interface = parse_interface(answer.interface)
        is_virtio = interface.space is RegisterSpace.VIRTIO_CONFIG
        return config_fields(interface.registers) if is_virtio else ()

    def _in_flight_logs(self, sizes: Sequence[int], kept_state_bytes: int) -> int | None:
        """Return the in-flight logs; they are made for the first process of the device."""
        if self._logs is None and sizes:
            self._logs = make_logs(sizes, kept_state_bytes)
        return self._logs

    async def _give_up(self, error: NotRestorable) -> None:
        """Let the slot read as absent until the guest boots again."""
        self._boot_log.add(f"{self.node.name}: reads as absent: {error.message}")
        self._renewed.clear()
        self._move(ProbeState.FAILED, error.message)
        await self._engine.disconnect(self.slot, absent=True)
        self._settled(self.node.name)
        await self._renewed.wait()
        self._move(ProbeState.WAITING, "the guest boots again")
