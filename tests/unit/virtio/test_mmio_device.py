"""The transport, over a model whose queues stop when the test says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from enum import IntFlag

import pytest
from structlog.testing import capture_logs
from virtmesh_native import GuestMemory, Interrupt, QueueConfig

from virtmesh.attach.client import AttachmentEventfds
from virtmesh.attach.guest_ram import Ram
from virtmesh.host.metrics import device_metrics
from virtmesh.mmio.device import Attachment, Execution
from virtmesh.testing.scripted_driver import LIVE, LocalRegisters, ScriptedDriver
from virtmesh.virtio.device import SharedMemory
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.errors import BadDoorbell, DriverViolation, VirtmeshError
from virtmesh_common.registers import Register
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

FEATURES = Feature.VIRTIO_F_VERSION_1 | Feature.VIRTIO_F_RING_RESET


class NoFeature(IntFlag):
    """This kind of device has no features of its own."""


class StubbornModel:
    """A model that holds its queues until `let_go`."""

    name = "stub"
    kind = "stub"
    services = ()
    device_id = 42
    family: type[IntFlag] = NoFeature
    queue_size_max = (8, 8)
    identity: Mapping[str, str] = {}
    kept_state_bytes = 0
    shared_memory: Mapping[int, SharedMemory] = {7: SharedMemory(base=1 << 40, length=0x1_0002)}
    config: tuple[Register, ...] = ()
    config_generation = 0
    notifications = 0
    requests = 0

    def __init__(self) -> None:
        self.device_features = int(FEATURES)
        self.interrupt = Interrupt()
        self.running: set[int] = set()
        self.kicked: list[int] = []
        self.resets = 0
        self.start_error: VirtmeshError | None = None
        self._let_go = threading.Event()

    def let_go(self) -> None:
        """Let go of every queue whose stop was asked for: here, all."""
        self.running.clear()
        self._let_go.set()

    def read_config(self, field: Register) -> int:
        """Fail: there is none."""
        raise AssertionError(field)

    def write_config(self, field: Register, value: int) -> None:
        """Fail: there is none."""
        raise AssertionError(field)

    def take_kept(self, state: object) -> None:
        """Keep nothing."""

    def missing_feature(self, features: int) -> str:
        """Accept any subset."""
        return ""

    def negotiate(self, features: int) -> None:
        """Take the features."""

    def start_queue(
        self, index: int, memory: GuestMemory, config: QueueConfig, kick: int | None
    ) -> None:
        """Hold the queue, or fail as the test wants."""
        if self.start_error:
            raise self.start_error
        self.running.add(index)

    def kick(self, index: int) -> None:
        """Note it."""
        self.kicked.append(index)

    def request_stop(self, index: int) -> None:
        """Hold on to the queue."""

    def abandon(self, index: int) -> None:
        """Hold on to the queue."""

    def stuck(self, index: int) -> str:
        """Name what the queue is held for."""
        return f"IN at sector 7 of queue {index}" if index in self.running else ""

    def has_held(self, index: int) -> bool:
        """Say no."""
        return False

    def longest(self) -> Execution | None:
        """Return what a queue is held for."""
        return Execution("IN at sector 7", 12.0) if self.running else None

    def is_stopped(self, index: int) -> bool:
        """Say whether the queue is held."""
        return index not in self.running

    def queue_state(self, index: int) -> None:
        """Say that it begins anew."""

    def join(self, index: int, seconds: float) -> bool:
        """Wait for `let_go`."""
        return index not in self.running or self._let_go.wait(seconds)

    def reset(self) -> None:
        """Count it."""
        self.resets += 1

    def close(self) -> None:
        """Release nothing."""


class Rig:
    """A model, its transport, and a driver of it."""

    def __init__(self, ram: Ram, doorbells: AttachmentEventfds) -> None:
        self.model = StubbornModel()
        self.device = VirtioMmio(self.model)
        self.device.attach(Attachment("test", ram.guest_memory, doorbells.queues))
        self.driver = ScriptedDriver(LocalRegisters(self.device), ram, doorbells)


@pytest.fixture
def bench() -> Iterable[Rig]:
    """Make a bench."""
    doorbells = AttachmentEventfds.make(2)
    with Ram(1 << 20) as ram:
        yield Rig(ram, doorbells)
    doorbells.close()


async def test_status_shows_its_old_value_until_the_reset_is_done(bench: Rig) -> None:
    """A driver that polls Status sees 0 only when no queue is touched any more (2.4.1)."""
    await bench.driver.bring_up(FEATURES)
    await bench.driver.put(mmio.STATUS, 0)
    assert await bench.driver.get(mmio.STATUS) == LIVE
    bench.model.let_go()
    assert await bench.driver.get(mmio.STATUS) == 0
    assert bench.model.resets == 2  # of the driver's first reset, and of this one


async def test_nothing_is_set_up_while_a_reset_is_under_way(bench: Rig) -> None:
    """Writes that would start something are refused; acknowledging and resetting again are not."""
    await bench.driver.bring_up(FEATURES)
    await bench.driver.put(mmio.STATUS, 0)
    for register, value in (
        (mmio.STATUS, 1),
        (mmio.QUEUE_SIZE, 8),
        (mmio.QUEUE_NOTIFY, 0),
        (mmio.DRIVER_FEATURES, 0),
    ):
        with pytest.raises(DriverViolation):
            await bench.driver.put(register, value)
    await bench.driver.put(mmio.INTERRUPT_ACK, 1)
    await bench.driver.put(mmio.STATUS, 0)
    bench.model.let_go()
    assert await bench.driver.get(mmio.STATUS) == 0


async def test_reset_done_waits_for_the_queues(bench: Rig) -> None:
    """The loop runs on meanwhile."""
    await bench.driver.bring_up(FEATURES)
    bench.device.begin_reset()
    waiter = asyncio.create_task(bench.device.reset_done())
    assert await bench.driver.get(mmio.STATUS) == LIVE
    assert not waiter.done()
    bench.model.let_go()
    assert await waiter
    assert bench.device.state.device_status == 0


async def test_a_reset_that_does_not_end_is_waited_for_in_vain(bench: Rig) -> None:
    """Status stays as it was, and the log names the request, once for each reset."""
    await bench.driver.bring_up(FEATURES)
    bench.device.begin_reset()
    with capture_logs() as lines:
        assert not await bench.device.reset_done(0.01)
        assert not await bench.device.reset_done(0.01)
    assert await bench.driver.get(mmio.STATUS) == LIVE
    assert [line["request"] for line in lines] == ["IN at sector 7 of queue 0"]
    bench.model.let_go()
    assert await bench.device.reset_done()
    assert await bench.driver.get(mmio.STATUS) == 0


async def test_queue_reset_reads_1_while_it_lasts(bench: Rig) -> None:
    """QueueReset and QueueReady read 1 until the device has let go, then both 0 (4.2.2.1)."""
    await bench.driver.bring_up(FEATURES)
    await bench.driver.put(mmio.QUEUE_RESET, 1)
    assert await bench.driver.get(mmio.QUEUE_RESET) == 1
    assert await bench.driver.get(mmio.QUEUE_READY) == 1
    for register in (mmio.QUEUE_SIZE, mmio.QUEUE_READY, mmio.QUEUE_RESET):
        with pytest.raises(DriverViolation):
            await bench.driver.put(register, 1)
    bench.model.let_go()
    assert await bench.driver.get(mmio.QUEUE_RESET) == 0
    assert await bench.driver.get(mmio.QUEUE_READY) == 0


async def test_a_stopped_queue_reads_as_ready_while_it_is_touched(bench: Rig) -> None:
    """A device must not touch a queue whose QueueReady is 0 (4.2.2.1)."""
    await bench.driver.bring_up(FEATURES)
    await bench.driver.put(mmio.QUEUE_READY, 0)
    assert await bench.driver.get(mmio.QUEUE_READY) == 1
    bench.model.let_go()
    assert await bench.driver.get(mmio.QUEUE_READY) == 0


async def test_queues_start_at_driver_ok_or_when_ready_after_it(bench: Rig) -> None:
    """Nothing is served before DRIVER_OK (2.1.2)."""
    await bench.driver.reset()
    await bench.driver.negotiate(FEATURES)
    await bench.driver.set_up_queue(0)
    assert bench.model.running == set()
    await bench.driver.go()
    assert bench.model.running == {0}
    await bench.driver.set_up_queue(1)
    assert bench.model.running == {0, 1}


async def test_a_queue_that_can_not_be_served_asks_for_a_reset(bench: Rig) -> None:
    """What fails in the device at DRIVER_OK is no error of the write: it is DEVICE_NEEDS_RESET."""
    bench.model.start_error = VirtmeshError("no more threads")
    await bench.driver.bring_up(FEATURES)
    assert await bench.driver.get(mmio.STATUS) == LIVE | Status.DEVICE_NEEDS_RESET
    assert "no more threads" in bench.device.state.fault


async def test_a_queue_needs_memory(bench: Rig) -> None:
    """By hand, without a driver's memory, no queue becomes ready."""
    bench.device.detach()
    await bench.driver.reset()
    await bench.driver.negotiate(FEATURES)
    with pytest.raises(DriverViolation, match="no driver is attached"):
        await bench.driver.set_up_queue(0)


async def test_features_stand_still_while_a_driver_is_at_work(bench: Rig) -> None:
    """A change of what is offered shows after the next reset."""
    await bench.driver.reset()
    await bench.driver.put(mmio.STATUS, Status.ACKNOWLEDGE)
    bench.model.device_features |= 1 << 3
    assert await bench.driver.offered() == FEATURES
    await bench.driver.reset()
    assert await bench.driver.offered() == FEATURES | 1 << 3


async def test_shared_memory_regions(bench: Rig) -> None:
    """Length and base of the region that SHMSel selects (2.10)."""
    registers = (mmio.SHM_LEN_LOW, mmio.SHM_LEN_HIGH, mmio.SHM_BASE_LOW, mmio.SHM_BASE_HIGH)
    await bench.driver.put(mmio.SHM_SEL, 7)
    assert [await bench.driver.get(register) for register in registers] == [0x1_0002, 0, 0, 0x100]


async def test_refused_negotiations_and_accesses_are_counted(bench: Rig) -> None:
    """The metrics show what a driver did wrong."""
    await bench.driver.reset()
    await bench.driver.negotiate(0)
    with pytest.raises(VirtmeshError):
        await bench.driver.get(mmio.QUEUE_PFN)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in device_metrics(bench.device)
        for sample in metric.samples
    }
    assert samples["virtmesh_virtio_features_refused_total",] == 1
    assert samples["virtmesh_register_reserved_total", "QueuePFN"] == 1
    assert samples["virtmesh_register_refused_total", "UNKNOWN_REGISTER"] == 1


def test_doorbells_of_queues_that_are_not_there(bench: Rig) -> None:
    """They are refused, and none is kept."""
    bench.device.detach()
    doorbell = bench.driver.doorbells.queues[0]
    attachment = Attachment("test", bench.driver.ram.guest_memory, {2: doorbell})
    with pytest.raises(BadDoorbell):
        bench.device.attach(attachment)
