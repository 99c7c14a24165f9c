"""DeviceService.GetReport: what a driver broke, by registers of a service and shared memory."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress

import grpc.aio
import pytest

from tests.contract.conftest import Served
from virtmesh.host.report import OUTSIDE
from virtmesh.testing.scripted_driver import LIVE, NEGOTIATED, BlkRequest, ScriptedDriver
from virtmesh_common.api.device.v1 import device_pb2 as pb
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.api.trace.v1.trace_pb2_grpc import TraceServiceStub
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.spec import BlkFeature
from virtmesh_common.errors import NotAttached, RegisterError, from_rpc_error
from virtmesh_common.time_limit import time_limit
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

PLAIN = int(Feature.VIRTIO_F_VERSION_1)
PATIENCE_S = 20.0
TEN = {
    "probe-first": "4.2.3.1.1",
    "features-read": "3.1.1",
    "feature-not-offered": "2.2.1",
    "status-order": "3.1.1",
    "status-clear": "2.1.1",
    "read-only-register": "4.2.2.2",
    "write-only-register": "4.2.2.2",
    "control-width": "4.2.2.2",
    "config-width": "4.2.2.2",
    "queue-size-max": "4.2.2.2",
    "queue-size-power": "2.7",
    "notify-before-driver-ok": "3.1.1",
    "notify-queue": "4.2.3.3",
    "interrupt-ack-bits": "4.2.2.2",
    "avail-flags": "2.7.7.1",
    "blk-capacity": "5.2.6.1",
    "blk-flush-sector": "5.2.6.1",
    "chain-length": "2.7.5.3.1",
}
"""What the broken driver below breaks, with the clauses."""


async def report(served: Served) -> pb.GetReportResponse:
    """Ask for the report."""
    return await served.control.GetReport(pb.GetReportRequest())


async def report_with(served: Served, rule: str) -> pb.GetReportResponse:
    """Ask for the report until it has a rule: a thread of the device may still find it."""
    async with time_limit(PATIENCE_S):
        while True:
            response = await report(served)
            if rule in {one.rule for one in response.violations}:
                return response
            await asyncio.sleep(0)


async def put(driver: ScriptedDriver, offset: int, value: int, width: int = 4) -> None:
    """Write a register, which may be refused."""
    with suppress(RegisterError):
        await driver.plane.write(offset, value, width)


async def get(driver: ScriptedDriver, offset: int, width: int = 4) -> None:
    """Read a register, which may be refused."""
    with suppress(RegisterError):
        await driver.plane.read(offset, width)


async def drive_badly(driver: ScriptedDriver) -> None:
    """Drive a disk as no driver should: each line breaks one rule of TEN."""
    await driver.reset()
    await driver.negotiate(PLAIN | Feature.VIRTIO_F_IN_ORDER)  # three rules at once
    await put(driver, mmio.STATUS.offset, LIVE)
    await driver.reset()
    await driver.offered()
    await driver.negotiate(PLAIN | BlkFeature.VIRTIO_BLK_F_FLUSH)
    await put(driver, mmio.STATUS.offset, Status.ACKNOWLEDGE)
    await put(driver, mmio.MAGIC_VALUE.offset, 0)
    await get(driver, mmio.QUEUE_SIZE.offset)
    await get(driver, mmio.STATUS.offset, 1)
    await get(driver, blk.CAPACITY.offset, 8)
    await put(driver, mmio.QUEUE_SIZE.offset, 1024)
    await put(driver, mmio.QUEUE_SIZE.offset, 3)
    await put(driver, mmio.QUEUE_NOTIFY.offset, 0)
    await driver.set_up_queue(0)
    await driver.go()
    await put(driver, mmio.QUEUE_NOTIFY.offset, 9)
    await put(driver, mmio.INTERRUPT_ACK.offset, 8)
    await driver.request(BlkRequest.read(1 << 40, 512))
    await driver.request(BlkRequest(blk.RequestType.VIRTIO_BLK_T_FLUSH, 7))


async def break_the_ring(driver: ScriptedDriver) -> None:
    """Set up another queue by hand: flags that are not there, and a chain that loops."""
    descriptors, available, _ = await driver.place_queue(1, 4)
    memory = driver.ram.guest_memory
    await driver.put(mmio.QUEUE_READY, 1)
    memory.write(descriptors, struct.pack("<QIHH", descriptors, 16, 1, 0))
    memory.write(available, struct.pack("<HHH", 4, 1, 0))
    await driver.put(mmio.QUEUE_NOTIFY, 1)


async def test_a_driver_that_breaks_many_rules_has_them_named_and_none_beside(
    served: Served,
) -> None:
    """By the registers of the service and by shared memory, each with its clause."""
    async with served.attached("broken") as driver:
        await drive_badly(driver)
        await break_the_ring(driver)
        response = await report_with(served, "chain-length")
    found = {one.rule: one.clause for one in response.violations}
    assert (response.driver_name, found) == ("broken", TEN)
    assert all(one.statement not in {"", OUTSIDE} for one in response.violations)
    assert {one.specification for one in response.violations} == {"virtio 1.4"}


async def test_a_violation_says_how_often_and_where_it_stands_in_the_trace(served: Served) -> None:
    """The first time, with the access; later times are counted."""
    async with served.attached() as driver:
        for value in (5, 6, 7):
            await put(driver, mmio.MAGIC_VALUE.offset, value)
        (violation,) = (await report(served)).violations
        first = violation.first
        assert (violation.rule, violation.count) == ("read-only-register", 3)
        access = pb.ViolatingAccess(offset=0, width_bytes=4, is_write=True, value=5)
        assert (first.access, first.HasField("queue"), first.HasField("pc")) == (
            access,
            False,
            False,
        )
        stub = TraceServiceStub(served.channel)
        request = trace_pb2.ReadRequest(from_sequence=first.sequence, limit=1)
        page = (await stub.Read(request)).page
    assert page.kinds == [trace_pb2.EVENT_KIND_VIOLATION]
    assert page.notes[0].text == f"read-only-register: {first.text}"


async def test_a_good_driver_has_an_empty_report(served: Served) -> None:
    """From the first register to a reset."""
    async with served.attached("good") as driver:
        for register in (mmio.MAGIC_VALUE, mmio.VERSION, mmio.DEVICE_ID):
            await driver.get(register)
        await driver.reset()
        await driver.offered()
        assert await driver.negotiate(PLAIN) == NEGOTIATED
        await driver.set_up_queue(0)
        await driver.go()
        assert (await driver.request(BlkRequest.read(0, 512)))[0] == 0
        await driver.reset()
        assert await report(served) == pb.GetReportResponse(driver_name="good")


async def test_the_report_outlives_its_driver_and_ends_with_the_next(served: Served) -> None:
    """Whoever asks late still finds it."""
    async with served.attached("first") as driver:
        await put(driver, mmio.MAGIC_VALUE.offset, 1)
    async with time_limit(PATIENCE_S):
        while (await served.control.GetStatus(pb.GetStatusRequest())).attached:  # noqa: ASYNC110
            await asyncio.sleep(0)
    after = await report(served)
    assert (after.driver_name, len(after.violations)) == ("first", 1)
    async with served.attached("second"):
        assert await report(served) == pb.GetReportResponse(driver_name="second")


async def test_a_replay_is_not_held_against_the_driver(served: Served) -> None:
    """Whoever replays a driver's writes into a new device clears the report; then it goes on."""
    async with served.attached() as driver:
        await driver.negotiate(PLAIN)
        await driver.set_up_queue(0)
        await driver.go()
        assert {one.rule for one in (await report(served)).violations} == {
            "probe-first",
            "init-reset",
            "features-read",
        }
        metadata = getattr(driver.plane, "metadata")  # noqa: B009 - of GrpcRegisters alone
        await served.control.ClearReport(pb.ClearReportRequest(), metadata=metadata)
        assert not (await report(served)).violations
        await put(driver, mmio.QUEUE_SIZE.offset, 2)
        assert [one.rule for one in (await report(served)).violations] == ["queue-in-use"]


async def test_only_the_driver_clears_its_report(served: Served) -> None:
    """What it broke is for others to see."""
    async with served.attached():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.control.ClearReport(pb.ClearReportRequest())
    assert isinstance(from_rpc_error(caught.value), NotAttached)


async def test_an_access_without_a_driver_is_judged_too(served: Served) -> None:
    """A script that tries registers sees what it breaks."""
    with suppress(RegisterError):
        served.host.device.read(0xF00, 4)
    assert [one.rule for one in (await report(served)).violations] == ["undescribed-register"]
