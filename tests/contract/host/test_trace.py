"""The flight recorder of a device, read through its service: pages of the past, and live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest
from virtmesh_native import Recorder

from virtmesh.host.host import Addresses, Host
from virtmesh.telemetry.recorder import boot_id
from virtmesh.testing.scripted_driver import BlkRequest
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.device.v1 import device_pb2, device_pb2_grpc
from virtmesh_common.api.register.v1 import register_pb2
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.api.trace.v1 import trace_pb2 as pb
from virtmesh_common.api.trace.v1 import trace_pb2_grpc
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import DeviceNotFound, ShuttingDown, VirtmeshError, from_rpc_error
from virtmesh_common.uart.spec import Ier, Registers
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

if TYPE_CHECKING:
    from tests.contract.conftest import Served

Watch = grpc.aio.UnaryStreamCall[pb.WatchRequest, pb.WatchResponse]
Event = tuple[str, int, int, int, int, int]
"""Kind, detail, queue, token, value, extra."""


def stub_of(served: Served) -> trace_pb2_grpc.TraceServiceAsyncStub:
    """Make a stub of TraceService."""
    stub: trace_pb2_grpc.TraceServiceAsyncStub = trace_pb2_grpc.TraceServiceStub(served.channel)
    return stub


def events(page: pb.Page) -> list[Event]:
    """Return the events of a page, without their times."""
    kinds = [pb.EventKind.Name(kind).removeprefix("EVENT_KIND_") for kind in page.kinds]
    columns = (page.details, page.queues, page.tokens, page.values, page.extras)
    return list(zip(kinds, *columns, strict=True))


def kinds(page: pb.Page) -> list[str]:
    """Return the kinds of the events of a page."""
    return [event[0] for event in events(page)]


async def read(served: Served, from_sequence: int = 0, limit: int = 0) -> pb.Page:
    """Read a page."""
    request = pb.ReadRequest(from_sequence=from_sequence, limit=limit)
    return (await stub_of(served).Read(request)).page


async def next_of(stream: Watch) -> pb.WatchResponse:
    """Return the next response."""
    response = await stream.read()
    assert isinstance(response, pb.WatchResponse)
    return response


async def failure_of(stream: Watch) -> VirtmeshError:
    """Read a stream to its end, and return the error that the service meant."""
    try:
        while await stream.read() is not grpc.aio.EOF:
            pass
    except grpc.RpcError as failure:
        return from_rpc_error(failure)
    pytest.fail("the stream ended without an error")


def record(served: Served, count: int) -> None:
    """Record events that say which they are."""
    recorder = served.host.device.interrupt.recorder
    for _ in range(count):
        recorder.record(pb.EVENT_KIND_PUSH, value=recorder.next)


def test_kinds_have_the_numbers_of_the_contract() -> None:
    """What is recorded natively is named as in trace.proto, each kind that there is."""
    contract = {
        name.removeprefix("EVENT_KIND_"): number for name, number in pb.EventKind.items() if number
    }
    assert Recorder.kinds() == contract


async def test_a_page_says_where_it_is_from(served: Served) -> None:
    """It can be decoded, and placed in time, without the service."""
    response = await stub_of(served).Read(pb.ReadRequest(device="vda"))
    source = response.source
    assert (source.device, source.side, source.kind) == ("vda", pb.SIDE_DEVICE, "blk")
    assert (source.compatible, source.virtio_device_id) == ("virtio,mmio", 2)
    assert source.boot_id == boot_id() != ""
    assert source.run_id
    assert source.realtime_offset_ns > 0
    assert response.position == pb.Position(capacity=65536)


async def test_each_access_of_a_batch_is_an_event(served: Served) -> None:
    """Reads, writes and guards, with offset, width and value; the batch has one time."""
    status, magic = mmio.STATUS.offset, mmio.MAGIC_VALUE.offset
    async with served.attached() as driver:
        del driver
        before = served.host.device.interrupt.recorder.next
    stream = RegisterServiceStub(served.channel).Access()
    await stream.write(
        register_pb2.AccessRequest(
            offsets=[magic, status, status, status],
            ops=[4, 0x84, 0x44, 4],
            values=[0, 1, 0xFF << 32 | 2, 0],
        )
    )
    await stream.read()
    page = await read(served, from_sequence=before)
    seen = [event for event in events(page) if event[0].startswith("REGISTER")]
    assert seen == [
        ("REGISTER_READ", 4, 0, magic, mmio.MMIO_MAGIC, 0),
        ("REGISTER_WRITE", 4, 0, status, 1, 0),
        ("REGISTER_READ", 0x44, 0, status, 1, 0xFF << 32 | 2),
    ]
    assert ("STATUS", 0, 0, 0, Status.ACKNOWLEDGE, 0) in events(page)
    times = [
        time
        for time, kind in zip(page.times_ns, kinds(page), strict=True)
        if kind.startswith("REGISTER")
    ]
    assert len(set(times)) == 1


@dataclass(frozen=True)
class Refusal:
    """An access that is refused, and the event that it makes."""

    offset: int
    width: int
    value: int | None
    """None for a read."""
    detail: int
    reason: pb.RefusalReason.ValueType

    @property
    def event(self) -> Event:
        """The event."""
        kind = "READ_REFUSED" if self.value is None else "WRITE_REFUSED"
        return kind, self.detail, 0, self.offset, self.value or 0, self.reason

    async def provoke(self, served: Served) -> str:
        """Make the access by hand; returns what the client is told."""
        stub = RegisterServiceStub(served.channel)
        where = {"offset": self.offset, "width_bytes": self.width}
        call = (
            stub.Read(register_pb2.ReadRequest(**where))
            if self.value is None
            else stub.Write(register_pb2.WriteRequest(**where, value=self.value))
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        return caught.value.details() or ""


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(0xF00, 4, None, 4, pb.REFUSAL_REASON_UNKNOWN_REGISTER),
        Refusal(0, 0xFFFF_FFFF, None, 127, pb.REFUSAL_REASON_BAD_WIDTH),
        Refusal(0, 4, 7, 4, pb.REFUSAL_REASON_NOT_WRITABLE),
        Refusal(mmio.QUEUE_NOTIFY.offset, 4, 0, 4, pb.REFUSAL_REASON_DRIVER_VIOLATION),
    ],
    ids=lambda refusal: pb.RefusalReason.Name(refusal.reason),
)
async def test_a_refusal_is_an_event_with_its_reason_and_text(
    served: Served, refusal: Refusal
) -> None:
    """The text is what the client is told, whatever nonsense was asked."""
    told = await refusal.provoke(served)
    page = await read(served)
    seen = [event for event in events(page) if event[0] != "VIOLATION"]
    assert seen == [refusal.event]
    assert page.notes[-1].text == told


async def test_a_request_is_followed_from_notify_to_interrupt(served: Served) -> None:
    """The device's steps, in order, with the chain's token, sector and length."""
    async with served.attached("me") as driver:
        await driver.bring_up(Feature.VIRTIO_F_VERSION_1)
        stream = stub_of(served).Watch(pb.WatchRequest())
        await next_of(stream)
        answer = await driver.request(BlkRequest.read(8, 1024), by="eventfd")
        steps: list[Event] = []
        while not {"NOTIFY", "INTERRUPT"} <= {step[0] for step in steps}:
            steps += events((await next_of(stream)).page)
    # A queue that is awake takes the chain before it looks at its eventfd.
    notify = ("NOTIFY", pb.NOTIFY_WAY_EVENTFD, 0, 0, 0, 0)
    steps.remove(notify)
    token = steps[0][3]
    assert answer == (0, in_image(8, 1024))
    assert steps == [
        ("POP", 0, 0, token, 3, 16 + 1024 + 1),
        ("REQUEST_START", 0, 0, token, 8, 1024),
        ("REQUEST_END", 0, 0, token, 0, 0),
        ("PUSH", 0, 0, token, 1025, 0),
        ("INTERRUPT", 1, 0, 0, 0, 0),
    ]


async def test_a_driver_comes_and_goes(served: Served) -> None:
    """It finds the device reset, its name is kept, and it leaves the device reset."""
    async with served.attached("me"):
        pass
    stream = stub_of(served).Watch(pb.WatchRequest(from_sequence=0))
    await next_of(stream)
    seen: list[str] = []
    texts: list[str] = []
    while "DETACH" not in seen:
        page = (await next_of(stream)).page
        seen += kinds(page)
        texts += [note.text for note in page.notes]
    assert seen == ["RESET", "ATTACH", "RESET", "DETACH"]
    assert texts == ["me"]


def in_image(sector: int, length: int) -> bytes:
    """Return what the test's image holds there."""
    return b"".join(
        number.to_bytes(8, "little") * 64 for number in range(sector, sector + length // 512)
    )


@pytest.mark.parametrize(("by", "way"), [("mmio", "MMIO"), ("rpc", "RPC")])
async def test_the_way_of_a_notification_is_recorded(served: Served, by: str, way: str) -> None:
    """A write to QueueNotify, or a call."""
    async with served.attached() as driver:
        await driver.bring_up(Feature.VIRTIO_F_VERSION_1)
        await driver.request(BlkRequest.read(0, 512), by=by)
        page = await read(served)
    notified = [event for event in events(page) if event[0] == "NOTIFY"]
    assert notified == [("NOTIFY", pb.NotifyWay.Value(f"NOTIFY_WAY_{way}"), 0, 0, 0, 0)]


async def test_pages_follow_one_another(served: Served) -> None:
    """Asking for next_sequence again and again gives each event once; limits are kept."""
    record(served, 6000)
    first = await read(served, limit=100_000)
    second = await read(served, from_sequence=first.next_sequence, limit=0)
    third = await read(served, from_sequence=second.next_sequence, limit=5000)
    pages = [first, second, third]
    assert [len(page.kinds) for page in pages] == [4096, 1024, 880]
    assert [value for page in pages for value in page.values] == list(range(6000))


async def test_a_page_of_nothing_says_where_to_go_on(served: Served) -> None:
    """A number that is not recorded yet counts as the next."""
    record(served, 3)
    page = await read(served, from_sequence=77)
    assert (page.first_sequence, page.next_sequence, page.lost, len(page.kinds)) == (3, 3, 0, 0)


async def test_another_device_is_not_found(served: Served) -> None:
    """By either call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub_of(served).Read(pb.ReadRequest(device="vdb"))
    assert isinstance(from_rpc_error(caught.value), DeviceNotFound)
    stream = stub_of(served).Watch(pb.WatchRequest(device="vdb"))
    assert isinstance(await failure_of(stream), DeviceNotFound)


async def test_a_watcher_gets_new_events_alone_unless_it_asks_for_more(served: Served) -> None:
    """Both first hear where the recorder stands."""
    record(served, 3)
    new = stub_of(served).Watch(pb.WatchRequest())
    kept = stub_of(served).Watch(pb.WatchRequest(from_sequence=1))
    for stream in (new, kept):
        snapshot = await next_of(stream)
        assert snapshot.source.device == "vda"
        assert snapshot.position.next_sequence == 3
        assert not snapshot.HasField("page")
    record(served, 1)
    assert list((await next_of(new)).page.values) == [3]
    assert list((await next_of(kept)).page.values)[:2] == [1, 2]


async def test_a_watcher_that_does_not_read_loses_the_oldest_and_is_told(served: Served) -> None:
    """Numbers never repeat, never skip unannounced; the watcher beside it gets everything."""
    slow = stub_of(served).Watch(pb.WatchRequest())
    await next_of(slow)
    total = 400_000
    for _ in range(100):
        record(served, total // 100)
        await asyncio.sleep(0)
    following, lost = 0, 0
    while following < total:
        page = (await next_of(slow)).page
        assert page.first_sequence == following + page.lost
        assert list(page.values) == list(range(page.first_sequence, page.next_sequence))
        following, lost = page.next_sequence, lost + page.lost
    assert following == total
    assert lost >= total // 2


async def test_watchers_end_when_the_service_stops(device: VirtioMmio, tmp_path: Path) -> None:
    """They are told that it is stopping, whether they read or not."""
    address = f"unix:{tmp_path / 'stopping.sock'}"
    host = Host(device, Addresses([address]))
    await host.start()
    async with open_channel(address) as channel:
        stub: trace_pb2_grpc.TraceServiceAsyncStub = trace_pb2_grpc.TraceServiceStub(channel)
        stream = stub.Watch(pb.WatchRequest())
        await next_of(stream)
        stopping = asyncio.create_task(host.stop())
        assert isinstance(await failure_of(stream), ShuttingDown)
        await stopping


async def test_a_recorder_that_is_off_records_nothing(device: VirtioMmio, tmp_path: Path) -> None:
    """The service still answers, and says so."""
    address = f"unix:{tmp_path / 'off.sock'}"
    host = Host(device, Addresses([address]), recorder=0)
    await host.start()
    async with open_channel(address) as channel:
        await RegisterServiceStub(channel).Read(register_pb2.ReadRequest(width_bytes=4))
        stub: trace_pb2_grpc.TraceServiceAsyncStub = trace_pb2_grpc.TraceServiceStub(channel)
        response = await stub.Read(pb.ReadRequest())
    await host.stop()
    assert response.position == pb.Position()
    assert not response.page.kinds


async def test_reading_all_the_time_changes_nothing_for_the_driver(served: Served) -> None:
    """Requests complete under eight watchers of everything, and each watcher sees every one."""
    streams = [stub_of(served).Watch(pb.WatchRequest(from_sequence=0)) for _ in range(8)]
    for stream in streams:
        await next_of(stream)
    async with served.attached() as driver:
        await driver.bring_up(Feature.VIRTIO_F_VERSION_1)
        for _ in range(50):
            status, _ = await driver.request(BlkRequest.read(0, 512), by="eventfd")
            assert status == 0
    for stream in streams:
        pushed = 0
        while pushed < 50:
            pushed += kinds((await next_of(stream)).page).count("PUSH")
        assert pushed == 50


async def test_a_serial_port_records_its_line(
    serve: Callable[..., AbstractAsyncContextManager[Served]],
) -> None:
    """A level-triggered line rises and falls; the accesses in between are there; a reset too."""
    registers = Registers()
    device = UartDevice("serial", UartOptions())
    async with serve(device) as served:
        stub = RegisterServiceStub(served.channel)
        for ier in (Ier.ETBEI, 0):  # An empty transmitter holds the line while it is let.
            await stub.Write(
                register_pb2.WriteRequest(offset=registers.ier.offset, width_bytes=1, value=ier)
            )
        await device_pb2_grpc.DeviceServiceStub(served.channel).Reset(device_pb2.ResetRequest())
        response = await stub_of(served).Read(pb.ReadRequest(device="serial"))
    assert (response.source.kind, response.source.virtio_device_id) == ("uart", 0)
    assert [event[:2] for event in events(response.page)] == [
        ("LEVEL", 1),
        ("REGISTER_WRITE", 1),
        ("LEVEL", 0),
        ("REGISTER_WRITE", 1),
        ("RESET", 0),
    ]
    by_time = sorted(zip(response.page.times_ns, kinds(response.page), strict=True))
    assert [kind for _, kind in by_time][:2] == ["REGISTER_WRITE", "LEVEL"]
