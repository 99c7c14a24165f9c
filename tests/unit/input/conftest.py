"""A keyboard behind its registers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.input_device_rig import InputDeviceRig
from virtmesh.attach.client import AttachmentEventfds
from virtmesh.attach.guest_ram import Ram


@pytest.fixture
async def keyboard() -> AsyncIterator[InputDeviceRig]:
    """Make a keyboard, and its driver."""
    doorbells = AttachmentEventfds.make(2)
    with Ram(1 << 20) as ram:
        rig = InputDeviceRig(ram, doorbells)
        yield rig
        rig.device.begin_reset()
        await rig.device.reset_done()
        rig.device.detach()
        rig.device.close()
    doorbells.close()
