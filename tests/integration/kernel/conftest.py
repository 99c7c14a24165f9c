"""A kernel for the tests of its services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.kernel_rig import World, serving


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Serve a kernel; none of its devices is there yet."""
    async with serving(tmp_path) as world:
        yield world
