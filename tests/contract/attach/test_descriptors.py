"""What an attachment holds is let go of when it ends, without the garbage collector."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.device_kinds import KINDS
from tests.support.vhost_user.backend import list_descriptors
from virtmesh.attach.guest_ram import Ram
from virtmesh.attach.server import Handover
from virtmesh.kinds import find_kind
from virtmesh.testing.malicious import service
from virtmesh.testing.malicious.recording import record

ROUNDS = 3


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Keep the collector from running: a busy service may go long without it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.usefixtures("no_collections")
async def test_nothing_is_left_of_an_attachment(
    name: str, tmp_path: Path, serve: Callable[..., AbstractAsyncContextManager[Any]]
) -> None:
    """Neither at the device nor at its driver: no descriptor, and no mapping of its memory."""
    kind = KINDS[name]
    async with serve(kind.make(tmp_path), find_kind(name)) as served:

        async def drive() -> None:
            with Ram(4 << 20) as ram:
                async with service(served.address)(ram) as bus:
                    await record(bus, kind.driver, kind.use)

        await drive()
        before = await asyncio.to_thread(held)
        for _ in range(ROUNDS):
            await drive()
        left = await asyncio.to_thread(held) - before

    assert not left


def held() -> Counter[str]:
    """Count what this process holds of attachments: eventfds, files and memory, not sockets."""
    found = list_descriptors()
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    found["handovers"] = sum(isinstance(one, Handover) for one in gc.get_objects())
    found["mappings"] = sum("/memfd:virtmesh-ram" in line for line in maps)
    del found["socket"], found["pipe"]
    return found
