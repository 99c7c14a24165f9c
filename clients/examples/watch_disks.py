"""Show the transfer rates of all disks of the machine, once a second, until Ctrl-C.

Usage: python watch_disks.py
"""

# ruff: noqa: INP001, T201 - a script for people

from __future__ import annotations

import asyncio
import contextlib

import virtmesh_client
from virtmesh_client import AsyncDisk


async def moved(disk: AsyncDisk) -> dict[str, int]:
    """Return the number of bytes of each type of request so far."""
    return {row.type: row.bytes for row in (await disk.stats()).requests}


async def main() -> None:
    """Print the rates of all disks once a second."""
    async with await virtmesh_client.aconnect() as machine:
        names = [device.name for device in await machine.devices()]
        disks = [machine.disk(name) for name in names]
        before = await asyncio.gather(*map(moved, disks))
        while True:
            await asyncio.sleep(1)
            after = await asyncio.gather(*map(moved, disks))
            for name, old, new in zip(names, before, after, strict=True):
                rates = (f"{kind} {new[kind] - old[kind]} B/s" for kind in ("IN", "OUT"))
                print(name, *rates)
            before = after


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
