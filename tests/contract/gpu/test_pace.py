"""How often a watcher of a screen gets updates."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.gpu.test_service import BLACK, HEIGHT, WHOLE, WIDTH, serving
from tests.support.display_viewer import Viewer
from virtmesh.gpu.service import DisplayService, pause_after
from virtmesh_common.api.display.v1 import display_pb2 as pb

if TYPE_CHECKING:
    from tests.contract.gpu.test_service import Serve

SEND_SECONDS = 0.02


@pytest.mark.parametrize("rate", [5, 1000])
async def test_the_rate_counts_from_the_beginning_of_an_update(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, rate: int
) -> None:
    """How long the last one took is not added, and the time that was lost is not made up for."""
    pauses: list[float] = []
    real = DisplayService._on_thread

    async def read_slowly(*work: Any) -> bytes:
        await asyncio.sleep(SEND_SECONDS)
        return await real(*work)

    def pause(begin: float, now: float, rate: int) -> float:
        pauses.append(pause_after(begin, now, rate))
        return pauses[-1]

    monkeypatch.setattr(DisplayService, "_on_thread", staticmethod(read_slowly))
    monkeypatch.setattr("virtmesh.gpu.service.pause_after", pause)
    async with serving(serve) as display, display.driven() as driver:
        await driver.show(1, WIDTH, HEIGHT, BLACK)
        viewer = Viewer(display.calls.Watch(pb.WatchRequest(updates_per_second=rate)))
        for _ in range(3):
            await viewer.update()
            await driver.flush(1, WHOLE)
        viewer.call.cancel()
    assert len(pauses) >= 2
    assert all(0 <= one <= max(0, 1 / rate - SEND_SECONDS) for one in pauses)


def test_pauses_between_updates() -> None:
    """None without a rate, and none where the update took longer."""
    wanted = {(0.0, 10): 0.1, (0.03, 10): 0.07, (0.1, 10): 0.0, (7.0, 10): 0.0, (0.0, 0): 0.0}
    found = {case: pause_after(5.0, 5.0 + case[0], case[1]) for case in wanted}
    assert found == pytest.approx(wanted)
