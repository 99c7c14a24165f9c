"""DescribeInterface and the figures of GetStats: what a client learns of any kind of device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from tests.contract.conftest import Served
from virtmesh.host.interface import figure_values, make_interface
from virtmesh.kinds import DeviceKind, all_kinds, find_kind
from virtmesh.mmio.device import Description, Device
from virtmesh.testing.scripted_driver import BlkRequest, ScriptedDriver
from virtmesh.testing.scripted_input import ScriptedInput
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.device.v1 import device_pb2 as pb
from virtmesh_common.api.trace.v1 import trace_pb2, trace_pb2_grpc
from virtmesh_common.blk import spec as blk
from virtmesh_common.errors import DriverViolation
from virtmesh_common.interface import Interface, RegisterSpace, RequestType
from virtmesh_common.interface_message import encode_interface, parse_interface
from virtmesh_common.uart.spec import Layout, Registers
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature

Serve = Callable[[Device], AbstractAsyncContextManager[Served]]


async def interface_of(served: Served) -> Interface:
    """Ask a device for its interface."""
    answer = await served.control.DescribeInterface(pb.DescribeInterfaceRequest())
    return parse_interface(answer.interface)


async def figures_of(served: Served) -> dict[str, float]:
    """Ask a device for its figures."""
    answer = await served.control.GetStats(pb.GetStatsRequest())
    return {one.label: one.value for one in answer.figures}


async def test_a_disk_says_how_to_name_what_it_does(served: Served) -> None:
    """Registers, features, requests, metrics, figures: all of its record, over the wire."""
    interface = await interface_of(served)
    assert (interface.kind, interface.space) == ("blk", RegisterSpace.VIRTIO_CONFIG)
    assert interface.registers == blk.CONFIG
    assert interface.feature_names[9] == "VIRTIO_BLK_F_FLUSH"
    assert RequestType(1, "OUT", has_sector=True) in interface.request_types
    assert RequestType(4, "FLUSH") in interface.request_types
    assert dict(interface.request_statuses)[0] == "OK"
    assert "5.2" in interface.title


async def test_the_interface_is_what_is_known_in_the_process(
    served: Served, device: VirtioMmio
) -> None:
    """The server adds and loses nothing."""
    assert await interface_of(served) == make_interface(device.description, find_kind("blk"))


async def test_figures_follow_what_the_device_does(
    served: Served, grpc_driver: ScriptedDriver
) -> None:
    """They are sums over the series of their metrics."""
    before = await figures_of(served)
    interface = await interface_of(served)
    assert list(before) == [one.label for one in interface.figures]
    await grpc_driver.bring_up(Feature.VIRTIO_F_VERSION_1)
    await grpc_driver.request(BlkRequest.read(sector=5, length=512))
    after = await figures_of(served)
    assert after["IN"] - before["IN"] == 1
    assert after["bytes"] - before["bytes"] == 512
    assert after["errors"] == 0


class UnknownInput(ScriptedInput):
    """A device of a kind that nobody has a record of."""

    kind = "never-heard-of"


async def test_a_device_without_a_record_says_what_is_known(serve: Serve) -> None:
    """Its registers and features; it has no figures."""
    model = UnknownInput(name="odd")
    async with serve(VirtioMmio(model)) as served:
        interface = await interface_of(served)
        assert (interface.kind, interface.title) == ("never-heard-of", "")
        assert [one.name for one in interface.registers] == [one.name for one in model.config]
        assert interface.figures == ()
        assert await figures_of(served) == {}


async def test_a_serial_port_has_its_registers_where_they_are(serve: Serve) -> None:
    """As its options say: how far apart, how wide, with or without automatic flow control."""
    options = UartOptions(layout=Layout(2, 4), auto_flow=True)
    async with serve(UartDevice("serial", options)) as served:
        interface = await interface_of(served)
    assert interface.space is RegisterSpace.WINDOW
    expected = Registers(options.layout, auto_flow=True).table
    assert set(interface.registers) == set(expected)


async def test_a_serial_port_says_what_its_device_tree_node_says(serve: Serve) -> None:
    """A driver finds its registers and its baud rate by either."""
    platform = find_kind("uart").platform
    options = UartOptions(layout=Layout(2, 4), clock=24_000_000)
    async with serve(UartDevice("serial", options)) as served:
        about = await served.control.Describe(pb.DescribeRequest())

    assert dict(about.properties) == {
        "reg-shift": 2,
        "reg-io-width": 4,
        "clock-frequency": 24_000_000,
    }
    assert platform is not None
    assert set(about.properties) == set(platform.properties)
    assert about.mmio_size_bytes == 8 << 2
    assert not about.features


async def test_a_disk_names_the_features_that_it_offers(served: Served, device: VirtioMmio) -> None:
    """By number and name, those of the transport too: what DeviceFeatures has, bit for bit."""
    about = await served.control.Describe(pb.DescribeRequest())

    assert sum(1 << one.bit for one in about.features) == device.state.device_features
    assert {(32, "VIRTIO_F_VERSION_1"), (9, "VIRTIO_BLK_F_FLUSH")} <= {
        (one.bit, one.name) for one in about.features
    }
    assert not about.properties
    assert list(about.queue_size_max) == [16, 16]


async def test_reserved_bits_are_in_the_trace_and_change_nothing(serve: Serve) -> None:
    """The driver sees what it saw before; the flight recorder tells whoever looks."""
    registers = Registers()
    async with serve(UartDevice("serial", UartOptions())) as served:
        device = served.host.device
        device.write(registers.ier.offset, 1, 0xF5)
        assert device.read(registers.ier.offset, 1) == 0x05
        stub = trace_pb2_grpc.TraceServiceStub(served.channel)
        page = (await stub.Read(trace_pb2.ReadRequest(device="serial"))).page
    at = list(page.kinds).index(trace_pb2.EVENT_KIND_RESERVED_BITS)
    assert (page.tokens[at], page.values[at], page.extras[at]) == (1, 0xF5, 0xF0)


async def test_a_reserved_bit_that_the_specification_forbids_is_refused(served: Served) -> None:
    """Bit 5 of Status has no meaning: the write is refused and not counted as ignored."""
    async with served.attached() as driver:
        with pytest.raises(DriverViolation, match="may not set bit 0x20"):
            await driver.put(mmio.STATUS, 0x21)
    (file,) = served.host.device.register_files
    assert not file.reserved_bits.writes


@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.name)
def test_the_record_of_every_kind_is_within_the_bounds_of_clients(kind: DeviceKind) -> None:
    """What a service says of it is what a client takes, and its figures have values."""
    about = Description("name", kind.name, "", 0, kind.virtio_device_id)
    interface = make_interface(about, kind)
    assert parse_interface(encode_interface(interface)) == interface
    assert [one.value for one in figure_values(kind, ())] == [0.0] * len(kind.figures)
