"""What clients hold of a service, and the refusal of more."""

from __future__ import annotations

import asyncio

import pytest

from virtmesh.rpc.budgets import REFUSAL_S, REFUSALS_PER_S, Budgets
from virtmesh_common.errors import LimitReached
from virtmesh_common.limits import Limits


def refused(budgets: Budgets, name: str, client: str) -> str:
    """Return the limit that refuses a client one more."""
    with pytest.raises(LimitReached) as caught:
        budgets.hold(name, client)
    return caught.value.metadata["limit"]


def test_one_client_has_no_more_than_its_part() -> None:
    """It is told which limit it has reached; others go on, and so does it when it gives back."""
    budgets = Budgets(Limits.of({"streams": 16, "streams-per-client": 2}))
    first, _ = budgets.hold("streams", "ipv4:a"), budgets.hold("streams", "ipv4:a")

    assert refused(budgets, "streams", "ipv4:a") == "streams-per-client"
    budgets.hold("streams", "ipv4:b")
    first.give()
    budgets.hold("streams", "ipv4:a")


def test_what_is_left_is_for_those_who_hold_nothing() -> None:
    """An eighth of a budget is no client's second helping."""
    budgets = Budgets(Limits.of({"streams": 16, "streams-per-client": 16}))
    for _ in range(7):
        budgets.hold("streams", "ipv4:a")
        budgets.hold("streams", "name:b")

    assert refused(budgets, "streams", "ipv4:a") == "streams"
    budgets.hold("streams", "name:newcomer")


async def test_who_lies_about_names_shuts_nobody_out_who_comes_another_way() -> None:
    """A crowd at a unix socket leaves a quarter to all others, although each has called before."""
    budgets = Budgets(Limits.of({"transfers": 16, "transfers-per-client": 1}))
    for number in range(12):
        await called_before(budgets, f"owner-socket:{number}")
        budgets.hold("transfers", f"owner-socket:{number}")
    await called_before(budgets, "owner-socket:12")

    assert refused(budgets, "transfers", "owner-socket:12") == "transfers"
    budgets.hold("transfers", "name:ada")


async def test_who_has_another_name_for_each_call_leaves_room_for_those_who_have_called() -> None:
    """Also by the same unix socket."""
    budgets = Budgets(Limits.of({"transfers": 16, "transfers-per-client": 1}))
    for number in range(6):
        budgets.hold("transfers", f"owner-socket:{number}")

    assert refused(budgets, "transfers", "owner-socket:6") == "transfers"
    await called_before(budgets, "owner-socket:regular")
    budgets.hold("transfers", "owner-socket:regular")


async def test_the_more_wait_for_their_refusal_the_longer_it_takes() -> None:
    """Who asks again at once costs what so few refusals cost."""
    loop = asyncio.get_running_loop()
    budgets, crowd = Budgets(), 40
    begun = loop.time()
    await asyncio.gather(*(budgets.slow_down() for _ in range(crowd)))
    assert loop.time() - begun >= REFUSAL_S + (crowd - 1) / REFUSALS_PER_S


async def called_before(budgets: Budgets, client: str) -> None:
    """Make the calls after which a client is known."""
    for _ in range(2):
        await asyncio.wait_for(budgets.calls.take(client), 60)


def test_values_uses_and_refusals_are_in_the_metrics() -> None:
    """Of a limit per client, the use is that of the client with most."""
    budgets = Budgets(Limits.of({"streams": 16, "streams-per-client": 2}))
    with budgets.hold("streams", "ipv4:a"), budgets.hold("streams", "ipv4:a"):
        refused(budgets, "streams", "ipv4:a")
        samples = {
            (sample.name, sample.labels["limit"]): sample.value
            for metric in budgets.metrics()
            for sample in metric.samples
        }

    assert samples["virtmesh_limit", "streams"] == 16
    assert samples["virtmesh_limit_used", "streams"] == 2
    assert samples["virtmesh_limit_used", "streams-per-client"] == 2
    assert samples["virtmesh_limit_refused_total", "streams-per-client"] == 1
    assert budgets.use("streams").held == 0
    assert budgets.use("streams").by_client == {}
