"""A guest's console on a serial port: bytes, windows, and who has the port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from virtmesh.drivers.settings import Settings
from virtmesh.kernel.device import ProbeState
from virtmesh.kernel.guest.attached import AttachedGuest
from virtmesh.kernel.guest.console import PIECE, WINDOW
from virtmesh.kernel.guest.guests import Guests
from virtmesh.kernel.kernel import Kernel
from virtmesh.kernel.monitor.session import PROMPT
from virtmesh.kernel.tree.make import make_blob
from virtmesh.machine import DeviceEntry, Machine
from virtmesh.testing.memory_tty import MemoryTty
from virtmesh_common.api.kernel.v1 import guest_pb2 as pb
from virtmesh_common.errors import (
    BadStream,
    ConsoleTaken,
    DeviceLost,
    GuestBusy,
    GuestError,
    GuestNotFound,
    GuestTimeout,
    VirtmeshError,
    WrongKind,
)

UML = pb.Guest(kind="uml", runner_pid=7)


class Port(MemoryTty):
    """A port as a driver has it: `failed` is done when it is of no use any more."""

    def __init__(self, name: str = "serial") -> None:
        super().__init__(name)
        self.failed: asyncio.Future[VirtmeshError] = asyncio.get_running_loop().create_future()
        self.requests = 0


class Rig:
    """The ports of a machine in memory: the console `serial`, another port, and a disk."""

    def __init__(self) -> None:
        entries = (
            DeviceEntry("serial", "uart", "unix:/run/serial.sock", 0),
            DeviceEntry("vda", "blk", "unix:/run/vda.sock", 0),
        )
        self.kernel = Kernel(make_blob(Machine(devices=entries)), Settings())
        self.guests = Guests(self.kernel)
        self.port = Port()
        self.plug(self.port)

    def plug(self, port: Port) -> None:
        """Let the kernel have a driver for the port."""
        device = self.kernel.devices["serial"]
        device.driver = port  # type: ignore[assignment]
        device._move(ProbeState.READY, f"a test, {id(port)}")

    async def lose(self, error: VirtmeshError) -> None:
        """Lose the port."""
        self.kernel.devices["serial"].driver = None
        self.port.failed.set_result(error)
        await self.port.lose(error)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Serve the ports, up to the monitor's first prompt."""
    rig = Rig()
    rig.guests.start()
    await rig.port.until(PROMPT)
    yield rig
    await rig.guests.stop()


@asynccontextmanager
async def attached(rig: Rig, serial: str = "") -> AsyncIterator[AttachedGuest]:
    """Attach a guest for a while, and wait until it has the port."""
    guest = rig.guests.attach(pb.Guest(kind="uml", runner_pid=7, serial=serial))
    await rig.port.until("monitor waits until it ends]\r\n")
    yield guest
    rig.guests.detach(guest)


async def response(
    guest: AttachedGuest, wanted: Callable[[pb.AttachGuestResponse], object]
) -> pb.AttachGuestResponse:
    """Return the next message to the runner that is wanted."""
    while True:
        message = await guest.responses.get()
        assert isinstance(message, pb.AttachGuestResponse)
        if wanted(message):
            return message


def output(data: bytes) -> pb.AttachGuestRequest:
    """Return a message with output."""
    return pb.AttachGuestRequest(output=data)


async def test_the_monitor_steps_aside_and_comes_back(rig: Rig) -> None:
    """What is typed goes to the guest alone, and the line says who has it, at both ends."""
    async with attached(rig) as guest:
        await rig.port.type("lsdev\r")
        typed = await response(guest, lambda one: one.input)
        guest.take(output(b"login: "))
        shown = await rig.port.until("login: ")

    again = await rig.port.until(PROMPT)
    await rig.port.type("uname\r")
    answer = await rig.port.until(PROMPT)

    assert (typed.input, shown) == (b"lsdev\r", "login: ")
    assert "serial: the guest uml (process 7) is gone; the monitor has the port again" in again
    assert again.index("has the port again") < again.index("Welcome to virtmesh")
    assert answer.startswith("uname\r\nvirtmesh")


async def test_a_guest_that_reports_its_end_has_ended(rig: Rig) -> None:
    """It hears when its last output has left the port; the monitor does not say it is gone."""
    async with attached(rig) as guest:
        rig.port.open_for_output.clear()
        guest.take(output(b"Power down"))
        guest.take(pb.AttachGuestRequest(finished=pb.Finished()))
        await asyncio.sleep(0)
        before = guest.responses.empty()
        rig.port.open_for_output.set()
        await response(guest, lambda one: one.HasField("finished"))

    assert before
    assert "Power down\r\n" in (text := await rig.port.until(PROMPT))
    assert "the guest uml (process 7) has ended; the monitor has the port again" in text


async def test_output_waits_for_the_port_within_its_window(rig: Rig) -> None:
    """The runner hears of what the port has taken, and may not send more than the window."""
    async with attached(rig) as guest:
        rig.port.open_for_output.clear()
        for _ in range(WINDOW // PIECE):
            guest.take(output(bytes(PIECE)))
        with pytest.raises(BadStream, match="1 bytes of output behind 65536 that are not taken"):
            guest.take(output(b"x"))
        with pytest.raises(BadStream):
            guest.take(output(b""))

        rig.port.open_for_output.set()
        taken = 0
        while taken < WINDOW:
            taken += (await response(guest, lambda one: one.output_taken)).output_taken
        guest.take(output(b"more"))

        assert taken == WINDOW
        assert (await rig.port.until("more")).strip("\0") == "more"


async def test_input_stays_on_the_line_while_the_guest_does_not_read(rig: Rig) -> None:
    """Beyond the window nothing is taken off the port; a reset passes all the same."""
    async with attached(rig) as guest:
        await rig.port.type(bytes(3 * WINDOW))
        received = 0
        while received < WINDOW:
            received += len((await response(guest, lambda one: one.input)).input)
        left = rig.port.unread
        acting = asyncio.create_task(guest.act(pb.Action(reset=pb.Reset()), 10))
        action = (await response(guest, lambda one: one.HasField("action"))).action
        guest.take(pb.AttachGuestRequest(done=pb.ActionDone(id=action.id)))
        await acting
        guest.take(pb.AttachGuestRequest(input_taken=100))
        more = await response(guest, lambda one: one.input)

        assert (received, left) == (WINDOW, 2 * WINDOW)
        assert len(more.input) == 100
        with pytest.raises(BadStream, match="65537 bytes of input were taken, and 65536 sent"):
            guest.take(pb.AttachGuestRequest(input_taken=WINDOW + 1))


async def test_a_flood_of_breaks_is_bounded_by_the_window(rig: Rig) -> None:
    """Each counts as a byte, so a guest that takes none is told of no more than fit."""
    async with attached(rig) as guest:
        for _ in range(2 * WINDOW):
            rig.port.on_break()

        assert guest.responses.qsize() == WINDOW


async def test_a_guest_keeps_the_port_when_that_comes_back(rig: Rig) -> None:
    """What was under way is counted as taken, and the rest goes to the new life of the port."""
    async with attached(rig) as guest:
        rig.port.open_for_output.clear()
        guest.take(output(b"lost"))
        await rig.port.type("")
        old = rig.port
        await rig.lose(DeviceLost("the serial port is gone"))
        old.open_for_output.set()
        await response(guest, lambda one: one.output_taken)
        rig.port = Port()
        guest.take(output(b"kept"))
        rig.plug(rig.port)

        assert await rig.port.until("kept") == "kept"


async def test_a_port_has_one_guest(rig: Rig) -> None:
    """The refusal names who has it; a disk is no port, and nothing else is asked of one."""
    async with attached(rig):
        with pytest.raises(ConsoleTaken, match=r"the guest uml \(process 7\) has serial") as caught:
            rig.guests.attach(UML)
    with pytest.raises(GuestNotFound, match="no guest has serial"):
        rig.guests.find("")
    with pytest.raises(WrongKind, match="vda is no serial port"):
        rig.guests.attach(pb.Guest(kind="uml", serial="vda"))

    assert caught.value.metadata == {"holder": "the guest uml (process 7)"}


async def test_what_a_runner_says_is_bounded(rig: Rig) -> None:
    """Lengths and numbers of names; control characters do not reach a terminal."""
    for bad in (
        pb.Guest(),
        pb.Guest(kind="x" * 33),
        pb.Guest(kind="uml", disks=["x"] * 65),
        pb.Guest(kind="uml", inputs=["x" * 256]),
    ):
        with pytest.raises(BadStream):
            rig.guests.attach(bad)
    async with attached(rig, serial="serial") as guest:
        guest.take(pb.AttachGuestRequest(changed=pb.Guest(kind="u\x1b[2J", disks=["a\rb"])))
        with pytest.raises(BadStream, match="start is not possible here"):
            guest.take(pb.AttachGuestRequest(start=UML))
        with pytest.raises(BadStream, match="an empty message"):
            guest.take(pb.AttachGuestRequest())

        assert (guest.kind, list(guest.guest.disks)) == ("u?[2J", ["a?b"])


async def test_an_action_ends_in_bounded_time(rig: Rig) -> None:
    """A runner that does not answer, one that can't, one that goes, and too many at once."""
    async with attached(rig) as guest:
        with pytest.raises(GuestTimeout, match=r"does not answer for 0\.01 s"):
            await guest.act(pb.Action(reset=pb.Reset()), 0.01)
        failing = asyncio.create_task(guest.act(pb.Action(reset=pb.Reset()), 10))
        await response(guest, lambda one: one.action.id == 2)
        guest.take(pb.AttachGuestRequest(done=pb.ActionDone(id=2, error="no\nbutton")))
        with pytest.raises(GuestError, match=r"no\?button"):
            await failing
        waiting = [
            asyncio.create_task(guest.act(pb.Action(reset=pb.Reset()), 10)) for _ in range(8)
        ]
        await response(guest, lambda one: one.action.id == 10)
        with pytest.raises(GuestBusy, match="8 actions under way"):
            await guest.act(pb.Action(reset=pb.Reset()), 10)

    for task in waiting:
        with pytest.raises(GuestError, match="has gone before it was done"):
            await task
