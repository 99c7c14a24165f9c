"""The asyncio faces: signatures, types and docstrings of the blocking ones; few threads."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import assert_type

import virtmesh_client
from virtmesh_client import (
    AsyncDisk,
    AsyncInput,
    AsyncMachine,
    AsyncSerial,
    CopyResult,
    DeviceInfo,
    Disk,
    DiskInfo,
    Injected,
    Match,
    Received,
)
from virtmesh_client.aio.threads import THREADS
from virtmesh_client.input.aio import AsyncWatch
from virtmesh_client.testing import FakeKernel

CALLS = 200


async def test_many_calls_at_once_start_few_threads() -> None:
    """Two hundred reads of one disk, and their answers are all there."""
    idle = sum(thread.name == "virtmesh-client" for thread in threading.enumerate())
    with FakeKernel(vda=1 << 20) as kernel:
        async with await virtmesh_client.aconnect(kernel.address) as machine:
            disk = machine.disk("vda")
            for number in range(CALLS):
                kernel.disks["vda"].data[number * 512] = number
            threads: set[int] = set()

            async def read(number: int) -> bytes:
                buffer = bytearray(1)
                await disk.read_into(number * 512, buffer)
                threads.update(
                    thread.ident or 0
                    for thread in threading.enumerate()
                    if thread.name == "virtmesh-client"
                )
                return bytes(buffer)

            data = await asyncio.gather(*map(read, range(CALLS)))

    assert data == [bytes([number]) for number in range(CALLS)]
    assert len(threads) <= max(idle, THREADS)


def test_a_face_shows_the_signature_and_the_docstring() -> None:
    """To `help` and to editors."""
    shown = inspect.signature(AsyncDisk.read)

    words = "(self, offset: 'int', length: 'int', *, retry_for: 'float | None' = None) -> 'bytes'"
    assert str(shown) == words
    assert AsyncDisk.read.__doc__ == Disk.read.__doc__
    assert inspect.iscoroutinefunction(AsyncDisk.read)


async def use(machine: AsyncMachine, keyboard: AsyncInput, serial: AsyncSerial) -> None:
    """Use the faces: mypy checks these types with the rest of the tests; nothing runs it."""
    assert_type(machine.disk("vda"), AsyncDisk)
    assert_type(await machine.devices(), list[DeviceInfo])
    assert_type(await machine.disk("vda").info(), DiskInfo)
    assert_type(await machine.disk("vda").read_into(0, bytearray(1)), int)
    assert_type(await machine.disk("vda").import_from("image", verify=True), CopyResult)
    assert_type(await keyboard.key("ctrl+a", count=2), Injected)
    assert_type(await keyboard.watch(), AsyncWatch[Received])
    assert_type(await serial.expect("login:"), Match)
    await machine.disk("vda").read("0", 1)  # type: ignore[arg-type]
    await machine.disk("vda").read(0)  # type: ignore[call-arg]
