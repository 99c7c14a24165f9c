"""Use two injectors at once, a keyboard and a mouse, and watch the events that arrive.

Usage: python input_two_injectors.py
"""

# ruff: noqa: INP001, T201 - a script for people

from __future__ import annotations

import asyncio

import virtmesh_client
from virtmesh_client.input.decode import Decoder

TEXT = "Two hands, two devices: neither waits for the other. "
CLICKS = 10


async def write(machine: virtmesh_client.AsyncMachine) -> str:
    """Type a text. Returns the text that the driver received."""
    decoder = Decoder("us")
    async with machine.input("keyboard") as keyboard, await keyboard.watch() as watch:
        typing = asyncio.create_task(keyboard.type(TEXT, delay=0.02))
        async for received in watch:
            decoder.take(received.event)
            if decoder.text == TEXT:
                break
        await typing
    return decoder.text


async def click(machine: virtmesh_client.AsyncMachine) -> int:
    """Move and click. Returns how many clicks the driver received."""
    clicks = 0
    async with machine.input("mouse") as mouse, await mouse.watch() as watch:
        for _ in range(CLICKS):
            await mouse.move_rel(20, -10, duration=0.05)
            await mouse.click()
        async for received in watch:
            clicks += str(received.event) == "BTN_LEFT 0"
            if clicks == CLICKS:
                break
    return clicks


async def main() -> None:
    """Type and click at the same time."""
    async with await virtmesh_client.aconnect() as machine:
        text, clicks = await asyncio.gather(write(machine), click(machine))
    print(f"the drivers received {text!r} and {clicks} clicks")


if __name__ == "__main__":
    asyncio.run(main())
