"""How many devices of a large machine are asked at once what they measure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from virtmesh.kernel.device import ProbeState
from virtmesh.kernel.gathering import Gathering


class Devices:
    """Devices that count how many of them are being asked."""

    def __init__(self, count: int) -> None:
        self.devices: Any = {
            f"vd{number}": SimpleNamespace(
                node=SimpleNamespace(name=f"vd{number}", endpoint=f"unix:/run/{number}"),
                state=ProbeState.READY,
            )
            for number in range(count)
        }
        self.machine: Any = SimpleNamespace(name="test")
        self.asked = 0
        self.most = 0
        self._now = 0

    def channel(self, _endpoint: str) -> Any:
        """Return a channel of which each call is answered by `answer`."""
        return SimpleNamespace(grpc=SimpleNamespace(unary_unary=lambda _method: self.answer))

    async def answer(self, _request: bytes, **_options: object) -> bytes:
        """Answer once others had a turn."""
        self.asked += 1
        self._now += 1
        self.most = max(self.most, self._now)
        for _ in range(5):
            await asyncio.sleep(0)
        self._now -= 1
        return b""


async def run(work: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    """Do it here."""
    return work()


@pytest.mark.parametrize(("count", "at_once"), [(5, 5), (48, 16), (64, 22), (256, 86)])
async def test_all_are_asked_in_three_turns_at_most(count: int, at_once: int) -> None:
    """Small machines at once, large ones in parts, so that each answer is read in time."""
    devices: Any = Devices(count)
    gathering: Any = Gathering(devices, devices.channel)

    await gathering.gather(run)

    assert (devices.asked, devices.most) == (count, at_once)
