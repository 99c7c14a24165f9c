"""The thread of the CPU outlives a panic of native code, and tells of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from virtmesh.cpu.engine import Ended, Engine


class Panic(BaseException):
    """A panic of native code, which is no Exception (pyo3's PanicException)."""


class PanickingBoard:
    """A board whose code is wrong."""

    def kick(self) -> None:
        """Do nothing: no run is under way."""

    def run(self) -> None:
        """Panic."""
        raise Panic("index out of bounds")


def panic(board: object) -> None:
    """Panic between two runs."""
    raise Panic(f"in a call of {board!r}")


async def test_a_panic_stops_the_guest_and_the_service_still_answers() -> None:
    """In a run and in a call: a fault is told each time, and the next call is executed."""
    told: asyncio.Queue[Ended] = asyncio.Queue()
    board: Any = PanickingBoard()
    engine = Engine(board, told.put_nowait)
    try:
        await engine.go()
        assert (await told.get()).kind == "fault"

        with pytest.raises(RuntimeError, match="a fault of the CPU: in a call"):
            await engine.call(panic)
        assert (await told.get()).kind == "fault"
        assert await engine.call(lambda _board: 7) == 7
    finally:
        await engine.close()
