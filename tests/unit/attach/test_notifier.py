"""How a driver rings a device that has the same eventfds."""

from __future__ import annotations

import fcntl
import os

from virtmesh.attach.client import AttachmentEventfds
from virtmesh.attach.eventfd import drain
from virtmesh.attach.notifier import EventfdNotifier

FULL = (1 << 64) - 2
"""The most that the counter of an eventfd holds."""


def test_a_kick_is_signalled() -> None:
    """By the number of its queue."""
    eventfds = AttachmentEventfds.make(2)
    notifier = EventfdNotifier({queue: pair.kick for queue, pair in eventfds.queues.items()})
    notifier.ring(1)
    assert [drain(eventfds.queues[queue].kick) for queue in (0, 1)] == [False, True]
    notifier.close()
    eventfds.close()


def test_a_device_that_filled_its_kick_and_made_it_blocking_keeps_nobody_waiting() -> None:
    """The driver goes on: the device has a signal to see anyway."""
    eventfds = AttachmentEventfds.make(1)
    kick = eventfds.queues[0].kick
    notifier = EventfdNotifier({0: kick})
    os.eventfd_write(kick, FULL)
    fcntl.fcntl(kick, fcntl.F_SETFL, 0)
    for _ in range(3):
        notifier.ring(0)
    assert drain(kick)
    notifier.close()
    eventfds.close()
