"""Sessions of a device, whose register channel can't be served."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from tests.support.handover import connected, good
from tests.support.holding_device import HoldingModel
from virtmesh.attach.server import HandoverServer
from virtmesh.attach.sessions import Session, Sessions
from virtmesh.virtio.mmio_device import VirtioMmio


class Channel:
    """A register channel that serves nobody."""

    def close(self) -> None:
        """Have nothing to close."""


class Channels:
    """Serves register channels, while descriptors are left."""

    def __init__(self) -> None:
        self.full = True

    def __call__(self, descriptor: int, session: Session, hang_up: Callable[[], None]) -> Channel:
        """Begin to serve. Errors: OSError."""
        del descriptor, session, hang_up
        if self.full:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return Channel()


async def test_a_channel_that_can_not_be_served_leaves_the_device_free(
    server: HandoverServer,
) -> None:
    """Attach fails, the driver's connection is closed, and the next driver gets the device."""
    channels = Channels()
    sessions = Sessions(VirtioMmio(HoldingModel()), server, channels)
    with connected(server) as driver:
        ticket = (await driver.hand_over(good)).ticket
        with pytest.raises(OSError, match="Too many open files"):
            await sessions.attach("first", ticket)
        assert await driver.receive() == b""

    channels.full = False
    with connected(server) as driver:
        ticket = (await driver.hand_over(good)).ticket
        session = await sessions.attach("second", ticket)
        assert sessions.holder is session
        await sessions.detach(session)
    assert sessions.holder is None
