"""A listening handover socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.handover import open_descriptors
from virtmesh.attach.server import HandoverServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[HandoverServer]:
    """Listen; and check at the end that no descriptor was left open."""
    before = open_descriptors()
    server = HandoverServer(tmp_path / "handover", queue_size_max=(64, 64))
    server.listen()
    yield server
    server.close()
    assert open_descriptors() <= before
