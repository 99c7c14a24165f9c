"""A kernel of two disks, for the tests that need no other devices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.world import World, serving


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Serve a kernel of two disks; neither of them is there yet."""
    async with serving(tmp_path, {"vda": "blk", "vdb": "blk"}) as world:
        yield world
