"""What waits for a browser that does not take it."""

from __future__ import annotations

from virtmesh_client import connect
from virtmesh_client.async_machine import AsyncMachine
from virtmesh_client.panel.hub import Hub
from virtmesh_client.panel.mailbox import EVENTS_WAITING, Mailbox
from virtmesh_client.testing import FakeKernel


async def test_of_a_state_only_the_newest_waits() -> None:
    """However many there were."""
    mailbox = Mailbox()
    for number in range(1000):
        mailbox.put_state("machine", number)

    assert await mailbox.take() == [{"topic": "machine", "state": 999}]


async def test_the_oldest_events_are_dropped_and_counted() -> None:
    """A browser that takes nothing costs no more than so many."""
    mailbox = Mailbox()
    for number in range(EVENTS_WAITING + 50):
        mailbox.put_events("dialogue:", [number])

    (message,) = await mailbox.take()
    assert message["dropped"] == 50
    assert message["events"] == list(range(50, EVENTS_WAITING + 50))

    mailbox.put_events("dialogue:", [1])
    assert await mailbox.take() == [{"topic": "dialogue:", "events": [1], "dropped": 0}]


async def test_what_is_not_wanted_any_more_does_not_wait() -> None:
    """A browser that names one topic after another, and reads none, costs no more than the last."""
    with FakeKernel(vda=1 << 20) as kernel, connect(kernel.address) as machine:
        asynchronous = AsyncMachine(machine)
        hub, mailbox = Hub(machine, asynchronous), Mailbox()
        for number in range(1000):
            hub.want(mailbox, frozenset({f"registers:vd{number}"}))
        mailbox.put_events("inputs", [1])
        hub.want(mailbox, frozenset({"inputs"}))
        hub.want(mailbox, frozenset({"registers:vda"}))

        assert await mailbox.take() == [{"topic": "registers:vda", "state": {}}]
