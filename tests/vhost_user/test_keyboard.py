"""A front end drives a keyboard: a device that is served on the event loop, and holds buffers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.input_poster import EventPoster
from tests.support.vhost_user.front_end import FrontEndRing, VhostFrontEnd
from virtmesh.host.host import Addresses, Host
from virtmesh.input.held_keys import Event, InjectorState
from virtmesh.input.injection import Offer
from virtmesh.input.kind import KIND
from virtmesh.input.model import InputModel, InputOptions
from virtmesh.input.personality import load
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.messages import Request
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.evdev import code_of
from virtmesh_common.input.spec import EVENT, EVENTQ, ConfigSelect
from virtmesh_common.virtio.features import Feature

KINDS = {"packed": 0, "split": int(Feature.VIRTIO_F_RING_PACKED)}
"""Kinds of rings, by the feature that is not agreed on."""
BUFFERS = 8
PRESS: Event = (*code_of("KEY_A"), 1)
RELEASE: Event = (*code_of("KEY_A"), 0)
SYN: Event = (0, 0, 0)


class Keyboard:
    """A keyboard service, and a front end with a running event queue."""

    def __init__(self, model: InputModel, path: Path) -> None:
        self.path = path
        self.front_end: VhostFrontEnd
        self.ring: FrontEndRing
        self._model = model
        self._injector = InjectorState()
        self._poster: EventPoster

    async def connect(self, without: int) -> None:
        """Connect the front end, and post every buffer."""
        self.front_end = await VhostFrontEnd.connect(self.path)
        await self.front_end.negotiate(without=without)
        await self.front_end.take_logs()
        await self.front_end.share()
        self.ring = await self.front_end.start_ring(EVENTQ)
        ram = self.front_end.ram
        address = ram.allocate(BUFFERS * EVENT.size)
        self._poster = EventPoster(self.ring.queue, ram.memory, address, BUFFERS)
        self.post()

    def post(self) -> None:
        """Post the buffers that are idle, and kick."""
        self._poster.post()
        self.ring.notify()

    async def send(self, *events: Event) -> list[Event]:
        """Have the device send a packet; returns what arrives."""
        offer = Offer(self._injector, (*events, SYN), lambda *_: None, report_end=True)
        await self._model.injection.offer(offer, refuse=False)
        arrived: list[Event] = []
        while len(arrived) <= len(events):
            if not self.ring.queue.enable_interrupts():
                await self.ring.called()
            arrived.extend(self._poster.take())
        return arrived


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS.keys()))
async def keyboard(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Keyboard]:
    """Serve a keyboard."""
    model = InputModel("keyboard", InputOptions("keyboard"), load("keyboard"))
    path = tmp_path / "vhost.sock"
    listen = [f"unix:{tmp_path / 'device.sock'}"]
    addresses = Addresses(listen, tmp_path / "hand.sock", vhost_user=path)
    host = Host(VirtioMmio(model), addresses, KIND)
    await host.start()
    keyboard = Keyboard(model, path)
    await keyboard.connect(request.param)
    yield keyboard
    keyboard.front_end.close()
    await host.stop()


async def test_events_arrive(keyboard: Keyboard) -> None:
    """In the order in which they were sent, over more buffers than there are."""
    for _ in range(BUFFERS):
        assert await keyboard.send(PRESS) == [PRESS, SYN]
        assert await keyboard.send(RELEASE) == [RELEASE, SYN]
        keyboard.post()


async def test_another_kick_descriptor_takes_the_place_of_the_first(keyboard: Keyboard) -> None:
    """The ring goes on with the buffers that the device holds."""
    before, ring = keyboard.ring.kick, keyboard.ring
    ring.kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    await keyboard.front_end.tell(Request.SET_VRING_KICK, vu.U64(EVENTQ), [ring.kick])
    os.close(before)
    for _ in range(BUFFERS):
        assert await keyboard.send(PRESS) == [PRESS, SYN]
        assert await keyboard.send(RELEASE) == [RELEASE, SYN]
        keyboard.post()


async def test_buffers_at_hand_outlast_a_pause(keyboard: Keyboard) -> None:
    """A ring is disabled and enabled: what the device holds meanwhile is not lost."""
    assert await keyboard.send(PRESS) == [PRESS, SYN]
    for on in (0, 1):
        await keyboard.front_end.tell(Request.SET_VRING_ENABLE, vu.VringState(EVENTQ, on))
    assert await keyboard.send(RELEASE) == [RELEASE, SYN]


async def test_buffers_at_hand_outlast_a_stop(keyboard: Keyboard) -> None:
    """The base of a stopped ring comes before them: they are taken again."""
    assert await keyboard.send(PRESS) == [PRESS, SYN]
    base = await keyboard.front_end.stop_ring(keyboard.ring)
    await keyboard.front_end.set_up_ring(keyboard.ring, base=base)
    assert await keyboard.send(RELEASE) == [RELEASE, SYN]


async def test_buffers_at_hand_outlast_a_connection(keyboard: Keyboard) -> None:
    """The in-flight log has them."""
    assert await keyboard.send(PRESS) == [PRESS, SYN]
    await keyboard.front_end.reconnect(keyboard.path)
    assert await keyboard.send(RELEASE) == [RELEASE, SYN]


async def test_the_name_is_asked_for_by_a_write(keyboard: Keyboard) -> None:
    """QEMU writes the whole configuration space to select what it reads (5.8.5)."""
    space = bytearray(136)
    space[0] = ConfigSelect.VIRTIO_INPUT_CFG_ID_NAME
    await keyboard.front_end.tell(Request.SET_CONFIG, vu.Config(0, 0, bytes(space)))
    answer = await keyboard.front_end.read_config(0, 136)
    name = b"virtmesh keyboard"
    assert answer[8 : 8 + answer[2]].lower() == name
