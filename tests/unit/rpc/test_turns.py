"""Turns: one piece of work in each pass of the event loop, clients in turn."""

from __future__ import annotations

import asyncio

from virtmesh.rpc.turns import Turns


async def test_a_client_waits_for_one_piece_of_another_not_for_all() -> None:
    """Who has many pieces under way goes back to the end of the line for each."""
    turns, order = Turns(), list[str]()

    async def work(client: str, pieces: int) -> None:
        for _ in range(pieces):
            await turns.take(client)
            order.append(client)

    for client in ("one", "many", "one", "many"):
        await turns.take(client)
    many = [asyncio.create_task(work("many", 4)) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.create_task(work("one", 1))
    await asyncio.gather(*many)

    assert order.count("many") == 12
    assert order.index("one") <= 3


async def test_who_is_cancelled_in_line_keeps_nobody_waiting() -> None:
    """Its turn goes to the next."""
    turns = Turns()
    await turns.take("first")
    gone = asyncio.create_task(turns.take("gone"))
    next_one = asyncio.create_task(turns.take("next"))
    await asyncio.sleep(0)
    gone.cancel()

    await next_one
    assert turns.waiting == 0


async def test_a_pass_goes_to_what_comes_before() -> None:
    """Pieces give way to calls, and not for ever."""
    calls = Turns()
    pieces = Turns(before=calls)
    done = asyncio.Event()

    async def call_all_the_time() -> None:
        while not done.is_set():
            await calls.take()

    caller = asyncio.create_task(call_all_the_time())
    for _ in range(4):
        await pieces.take()
    done.set()
    await caller

    assert calls.given > pieces.given
