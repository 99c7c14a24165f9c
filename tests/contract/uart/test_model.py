"""The serial port behind its real service: batches, interrupt stream, reset, metrics."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import grpc.aio
import pytest

from virtmesh.attach.bus import Access, columns, guarding, reading, writing
from virtmesh.host.main import main, take_addresses
from virtmesh.host.metrics import device_metrics
from virtmesh.mmio.device import BurstDevice
from virtmesh.uart.kind import KIND
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh.uart.options import make
from virtmesh.uart.port import Flow
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.interrupt.v1 import interrupt_pb2
from virtmesh_common.api.interrupt.v1.interrupt_pb2_grpc import InterruptServiceStub
from virtmesh_common.api.register.v1 import register_pb2
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.errors import NoSuchQueue, NotWritable, from_rpc_error
from virtmesh_common.uart.spec import IIR_ID, Fcr, Ier, Iir, Layout, Lsr, Registers

if TYPE_CHECKING:
    from tests.contract.conftest import Served

REGISTERS = Registers()
SET_UP = (
    writing(REGISTERS.lcr, 0x03),
    writing(REGISTERS.fcr, Fcr.FIFO_ENABLE | 0xC0),
    writing(REGISTERS.ier, Ier.ERBFI),
)
TRIGGER = 14
GROUP = (
    guarding(REGISTERS.iir, IIR_ID, Iir.RECEIVED_DATA),
    guarding(REGISTERS.lsr, Lsr.ERROR_IN_RCVR_FIFO, 0),
    *[reading(REGISTERS.rbr)] * TRIGGER,
)
"""Reads a FIFO that is at its trigger level."""


@pytest.fixture
async def port() -> AsyncIterator[UartDevice]:
    """Make a serial port."""
    device = UartDevice("serial", UartOptions())
    yield device
    device.close()


@pytest.fixture
async def served(
    port: UartDevice, serve: Callable[..., AbstractAsyncContextManager[Served]]
) -> AsyncIterator[Served]:
    """Serve it."""
    async with serve(port, KIND) as served:
        yield served


async def access(served: Served, *batches: Sequence[Access]) -> list[list[int]]:
    """Execute batches on one stream, driving the device by hand."""
    call = RegisterServiceStub(served.channel).Access()
    answers = []
    for batch in batches:
        offsets, ops, values = columns(batch)
        await call.write(register_pb2.AccessRequest(offsets=offsets, ops=ops, values=values))
        answer: Any = await call.read()
        assert not answer.HasField("error"), answer
        answers.append(list(answer.values))
    await call.done_writing()
    return answers


def watch(served: Served) -> Any:
    """Watch the interrupt line."""
    return InterruptServiceStub(served.channel).Watch(interrupt_pb2.WatchRequest())


async def test_it_says_what_it_is(served: Served) -> None:
    """A device tree node says the same."""
    description = await served.control.Describe(device_pb2.DescribeRequest())
    assert (description.kind, description.compatible) == ("uart", "ns16550a")
    assert (description.mmio_size_bytes, description.virtio_device_id) == (8, 0)
    assert list(description.services) == [
        "virtmesh.uart.v1.UartService",
        "virtmesh.fault.v1.FaultService",
    ]


async def test_a_batch_takes_all_there_is(served: Served, port: UartDevice) -> None:
    """Groups behind guards: the batch ends where the FIFO is below its trigger."""
    data = bytes(range(256)) * 3
    await access(served, SET_UP)
    port.line.send_now(data)
    (values,) = await access(served, GROUP * 200)
    groups = [values[start : start + len(GROUP)] for start in range(0, len(values), len(GROUP))]
    read = bytes(value for group in groups for value in group[2:])
    assert read == data[: len(data) // TRIGGER * TRIGGER]
    assert len(groups[-1]) == 1
    assert port.chip.receiver.level == len(data) % TRIGGER


async def test_a_burst_is_sent_in_one_message(served: Served, port: UartDevice) -> None:
    """While THRE, sixteen at a time."""
    group = [guarding(REGISTERS.lsr, Lsr.THRE, Lsr.THRE), *[writing(REGISTERS.thr, 0x55)] * 16]
    await access(served, SET_UP, group * 100)
    assert port.far_end.scrollback.end == 1600
    assert (await served.control.GetStats(device_pb2.GetStatsRequest())).mmio_messages == 2


async def test_the_interrupt_stream_tells_rises_and_falls(served: Served, port: UartDevice) -> None:
    """A level-triggered line: asserted while there is a cause."""
    await access(served, SET_UP)
    stream = watch(served)
    seen = [await stream.read()]
    port.line.send_now(bytes(TRIGGER))
    seen.append(await stream.read())
    await access(served, [reading(REGISTERS.rbr)] * TRIGGER)
    seen.append(await stream.read())
    stream.cancel()
    assert [(one.sequence, one.asserted) for one in seen] == [(0, False), (1, True), (1, False)]


async def test_a_tail_times_out_without_being_asked(served: Served, port: UartDevice) -> None:
    """Characters below the trigger level are told on the next turn of the service's loop."""
    await access(served, SET_UP)
    stream = watch(served)
    await stream.read()
    port.line.send_now(b"abc")
    risen = await stream.read()
    (values,) = await access(served, [reading(REGISTERS.iir)])
    stream.cancel()
    assert risen.asserted
    assert values[0] & IIR_ID == Iir.CHARACTER_TIMEOUT


async def test_a_reset_releases_the_line(served: Served, port: UartDevice) -> None:
    """What waits on the line stays; what was received is thrown away, and counted."""
    await access(served, SET_UP)
    stream = watch(served)
    await stream.read()
    port.line.send_now(bytes(20))
    await stream.read()
    await served.control.Reset(device_pb2.ResetRequest())
    fallen = await stream.read()
    stream.cancel()
    assert not fallen.asserted
    assert (port.uart_counters.discarded, port.line.waiting) == (16, 4)


async def test_a_driver_attaches_without_queues(served: Served, port: UartDevice) -> None:
    """It brings memory, of which the port makes no use."""
    async with served.attached(queues=0) as driver:
        assert port.attached
        with pytest.raises(NoSuchQueue):
            port.notify(0)
        assert await driver.plane.read(REGISTERS.lsr.offset, 1) == Lsr.THRE | Lsr.TEMT


async def test_a_refused_write_travels(served: Served) -> None:
    """LSR is not written, and the error says so."""
    stub = RegisterServiceStub(served.channel)
    request = register_pb2.WriteRequest(offset=REGISTERS.lsr.offset, width_bytes=1, value=0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Write(request)
    error = from_rpc_error(caught.value)
    assert isinstance(error, NotWritable)
    assert "LSR (0x005) is read-only" in error.message


async def test_the_overrun_story(port: UartDevice) -> None:
    """A burst meets a handler that masks its interrupt: each byte that is lost is counted."""
    burst = bytes(range(256)) * 256
    for one in SET_UP:
        port.write(one.offset, one.width, one.value or 0)
    port.line.send_now(burst, flow=Flow.NONE)
    port.write(REGISTERS.ier.offset, 1, 0)
    kept = port.read_run(REGISTERS.rbr.offset, 1, 16)
    assert bytes(kept) == burst[:16]
    assert port.uart_counters.overruns == len(burst) - 16


async def test_metrics_tell_what_happened(port: UartDevice) -> None:
    """Both directions, losses, FIFO levels, and interrupts by source."""
    for one in SET_UP:
        port.write(one.offset, one.width, one.value or 0)
    port.line.send_now(bytes(20), flow=Flow.NONE)
    port.write(REGISTERS.ier.offset, 1, 0)
    port.write(REGISTERS.thr.offset, 1, 0x41)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in (*device_metrics(port), *KIND.collect(port))
        for sample in metric.samples
    }
    wanted = {
        ("virtmesh_uart_received_bytes_total",): 16,
        ("virtmesh_uart_transmitted_bytes_total",): 1,
        ("virtmesh_uart_overruns_total",): 4,
        ("virtmesh_uart_fifo_bytes", "receive"): 16,
        ("virtmesh_uart_interrupts_total", "received_data"): 1,
        ("virtmesh_uart_scrollback_bytes",): 1,
        ("virtmesh_register_accesses_total", "IER", "write"): 2,
    }
    assert {key: found[key] for key in wanted} == wanted


async def test_the_device_is_what_the_host_expects(port: UartDevice) -> None:
    """Runs of equal accesses are handed over in one piece."""
    assert isinstance(port, BurstDevice)
    assert port.read_run(REGISTERS.lsr.offset, 1, 5) == b""
    assert port.read_run(REGISTERS.rbr.offset, 4, 5) == b""
    assert port.write_run(REGISTERS.thr.offset, 1, [1, 256]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reg-io-width", "4"], "overlap"),
        (["--reg-io-width", "3"], "is not one of"),
        (["--reg-shift", "5"], "not in the range"),
        (["--clock", "0"], "not in the range"),
        (["--clock", "4294967296"], "not in the range"),
        (["--scrollback", "0"], "from 1 byte to 1 GiB"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], message: str) -> None:
    """Before anything listens."""
    options = ["uart", "--name", "serial", "--listen", "127.0.0.1:0", *arguments]
    # In a process of its own: the program configures logging, which is for a whole process.
    result = subprocess.run(
        [sys.executable, "-m", "virtmesh.host.main", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode != 0
    assert message in result.stderr


async def test_options_make_the_device(tmp_path: Path) -> None:
    """From the command line's values to the port."""
    command = main.get_command(click.Context(main), "uart")
    assert command is not None
    context = command.make_context(
        "uart",
        [
            *("--name", "com1", "--listen", "127.0.0.1:0", "--reg-shift", "2", "--reg-io-width"),
            *("4", "--pace", "--clock", "153600000", "--log-file", str(tmp_path / "com1.log")),
        ],
    )
    values = {
        key: value
        for key, value in context.params.items()
        if key not in {"name", "log", "recorder", "sandbox", "faults"}
    }
    take_addresses(values)
    device = make("com1", **values)
    device.close()
    assert device.options.layout == Layout(2, 4)
    assert (device.paced, device.chip.format.baud) == (True, 9600)
    assert device.description.mmio_size_bytes == 32
