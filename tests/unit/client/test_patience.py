"""What a client repeats when its kernel service was lost, and what it says of the rest."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import math
import pkgutil
import threading
import time
from typing import TYPE_CHECKING

import pytest
from google.protobuf import descriptor_pool, message_factory

import virtmesh_client
from tests.support.cli import SECONDS, eventually
from tests.support.cut_relay import CutRelay
from virtmesh_client.patience import REPEATED, Patience, Presence, may_repeat
from virtmesh_client.testing import FakeKernel
from virtmesh_common import api
from virtmesh_common.errors import (
    DeviceLost,
    DeviceNotReady,
    ServiceUnavailable,
    VirtmeshError,
)
from virtmesh_common.security.roles import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client import Machine

SIZE = 8 << 20
OURS = sorted(method for method in TABLE if method.startswith("/virtmesh."))


@pytest.fixture
def kernel() -> Iterator[FakeKernel]:
    """Serve a machine with one disk."""
    with FakeKernel(vda=SIZE) as kernel:
        yield kernel


@pytest.fixture
def relay(kernel: FakeKernel) -> Iterator[CutRelay]:
    """Put a relay in front of the machine."""
    with CutRelay(kernel.address) as relay:
        yield relay


@pytest.fixture
def machine(relay: CutRelay) -> Iterator[Machine]:
    """Connect by the relay; the machine has answered once."""
    with virtmesh_client.connect(relay.address) as machine:
        assert machine.name == "fake"
        yield machine


def come_back_once_tried(relay: CutRelay, seconds: float = 0.3) -> None:
    """Cut everything; the service is back a little later."""
    relay.cut()
    threading.Timer(seconds, relay.open).start()


@pytest.mark.parametrize("method", OURS)
def test_what_is_repeated_is_what_reads_and_what_is_listed(method: str) -> None:
    """Each request names its method: none is repeated by accident."""
    service, _, name = method.removeprefix("/").rpartition("/")
    area, version = service.split(".")[1:3]
    for module in pkgutil.iter_modules([f"{api.__path__[0]}/{area}/{version}"]):
        importlib.import_module(f"{api.__name__}.{area}.{version}.{module.name}")
    found = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
    request = message_factory.GetMessageClass(found.input_type)()

    assert may_repeat(request) == (not TABLE[method].changes or method in REPEATED)


def test_what_is_listed_changes_something() -> None:
    """Whatever only reads is repeated anyway."""
    assert all(TABLE[method].changes for method in REPEATED)


def test_a_call_that_reads_is_repeated(relay: CutRelay, machine: Machine) -> None:
    """Nobody sees that the service was away."""
    come_back_once_tried(relay)

    assert [one.name for one in machine.devices()] == ["vda"]
    assert relay.connections > 1


def test_an_answer_that_was_lost_is_asked_for_again(relay: CutRelay, machine: Machine) -> None:
    """A flush that was carried out is carried out once more."""

    def cut_when_answered() -> None:
        assert relay.withheld.wait(SECONDS)
        come_back_once_tried(relay)

    relay.withhold()
    threading.Thread(target=cut_when_answered).start()

    machine.disk("vda").flush()
    assert relay.connections > 1


def test_without_patience_the_loss_is_told_at_once(relay: CutRelay) -> None:
    """As before there was any."""
    with virtmesh_client.connect(relay.address, retry_for=0) as machine:
        assert machine.name == "fake"
        relay.cut()
        with pytest.raises(ServiceUnavailable) as caught:
            machine.devices()
        with pytest.raises(ServiceUnavailable):
            machine.disk("vda").read(0, 512)
    assert "waited" not in caught.value.message


def test_patience_ends(relay: CutRelay, machine: Machine) -> None:
    """The error says for how long the service was waited for."""
    relay.cut()
    with pytest.raises(ServiceUnavailable, match=r"it was waited for, for 0\.2 s$"):
        machine.disk("vda").flush(retry_for=0.2)


class Settling:
    """A connection to a kernel service that has come back a moment ago."""

    retry_for = SECONDS

    def __init__(self) -> None:
        self.presence = Presence("unix:/nowhere")
        self.presence.note(ServiceUnavailable("gone", address=self.presence.address))
        self.presence.note_answer(time.monotonic())

    def running(self, _call: object) -> contextlib.AbstractContextManager[None]:
        """Let nobody cancel it."""
        return contextlib.nullcontext()


@pytest.mark.parametrize(
    ("error", "repeats", "is_tried_again"),
    [
        (DeviceNotReady("on its way"), True, True),
        (DeviceNotReady("on its way"), False, True),
        (DeviceLost("gone"), True, True),
        (DeviceLost("gone"), False, False),
    ],
)
def test_what_a_device_was_lost_with_is_not_done_twice(
    error: VirtmeshError, *, repeats: bool, is_tried_again: bool
) -> None:
    """It may have done it. One that was not ready has done nothing."""
    patience = Patience(Settling())
    if is_tried_again:
        patience.bear(error, repeats=repeats)
    else:
        with pytest.raises(type(error)):
            patience.bear(error, repeats=repeats)


def test_a_service_that_never_answered_is_not_waited_for(relay: CutRelay) -> None:
    """A wrong address is told at once."""
    relay.cut()
    with (
        virtmesh_client.connect(relay.address) as machine,
        pytest.raises(ServiceUnavailable) as caught,
    ):
        machine.devices()
    assert "waited" not in caught.value.message


def test_what_may_have_been_done_is_not_repeated(
    kernel: FakeKernel, relay: CutRelay, machine: Machine
) -> None:
    """It is said that nobody knows: here it was done, and only the answer was lost."""

    def cut_when_done() -> None:
        eventually(lambda: len(kernel.disks["vda"].data) == 2 * SIZE)
        come_back_once_tried(relay)

    relay.withhold()
    threading.Thread(target=cut_when_done).start()

    with pytest.raises(ServiceUnavailable, match="whether this was done is not known") as caught:
        machine.disk("vda").resize(2 * SIZE)

    assert caught.value.metadata["done"] == "unknown"
    assert machine.disk("vda").info().capacity_bytes == 2 * SIZE


def test_what_found_no_connection_is_tried_again(relay: CutRelay, machine: Machine) -> None:
    """It can't have been done."""
    relay.cut()
    with pytest.raises(ServiceUnavailable):
        machine.disk("vda").flush(retry_for=0.1)  # now the connection is known to be lost
    threading.Timer(0.3, relay.open).start()

    assert machine.disk("vda").resize(2 * SIZE) == SIZE


def test_a_long_write_goes_on_behind_what_was_written(relay: CutRelay, machine: Machine) -> None:
    """Whole, in order, and the source is read once."""
    parts = [bytes([number]) * 50_000 for number in range(100)]
    taken: list[int] = []

    def source() -> Iterator[bytes]:
        for number, part in enumerate(parts):
            taken.append(number)
            yield part

    relay.after(1 << 20, lambda: come_back_once_tried(relay))
    copy = machine.disk("vda").write(4096, source())

    assert relay.connections > 1
    assert copy.bytes == 5_000_000
    assert taken == list(range(100))
    assert machine.disk("vda").read(4096, 5_000_000) == b"".join(parts)


def test_a_long_read_goes_on_behind_what_came(relay: CutRelay, machine: Machine) -> None:
    """No byte twice, none left out."""
    data = b"".join(number.to_bytes(8, "little") for number in range(SIZE // 8))
    machine.disk("vda").write(0, data)
    found = bytearray()
    for piece in machine.disk("vda").stream():
        if not found:
            come_back_once_tried(relay)
        found += piece

    assert found == data
    assert relay.connections > 1


def test_a_write_that_fails_says_how_far_it_came(relay: CutRelay, machine: Machine) -> None:
    """Also when the patience was in vain."""
    relay.after(1 << 20, relay.cut)
    with pytest.raises(ServiceUnavailable) as caught:
        machine.disk("vda").write(0, bytes(SIZE), retry_for=0.2)

    assert 0 <= int(caught.value.metadata["written_bytes"]) < SIZE
    assert caught.value.metadata["length_bytes"] == str(SIZE)


def test_a_task_that_is_cancelled_stops_waiting(relay: CutRelay) -> None:
    """Patience is not stubbornness."""

    async def ask() -> None:
        async with await virtmesh_client.aconnect(relay.address) as machine:
            await machine.devices()
            relay.cut()
            asking = asyncio.create_task(machine.devices())
            done, _ = await asyncio.wait({asking}, timeout=0.5)
            assert not done
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

    asyncio.run(ask())


def test_an_answer_from_before_a_loss_is_none_of_after_it() -> None:
    """Or who waits would go on by a connection that is dead."""
    presence = Presence("127.0.0.1:1")
    presence.note_answer(begun=time.monotonic())
    begun = time.monotonic()
    presence.note(ServiceUnavailable("gone", address="127.0.0.1:1"))
    presence.note_answer(begun)
    assert presence.lost_at is not None
    presence.note_answer(math.nextafter(presence.lost_at, math.inf))
    assert presence.lost_at is None


def test_the_asyncio_face_has_the_same_patience(relay: CutRelay) -> None:
    """It is the same client."""

    async def ask() -> bytes:
        async with await virtmesh_client.aconnect(relay.address) as machine:
            await machine.disk("vda").write(0, b"kept")
            come_back_once_tried(relay)
            return await machine.disk("vda").read(0, 4)

    assert asyncio.run(ask()) == b"kept"
