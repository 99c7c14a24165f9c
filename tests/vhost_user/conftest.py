"""A disk that listens for vhost-user front ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.support.vhost_user.backend import Backend, Reasons, serve


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    """Serve the disk."""
    async with serve(tmp_path) as served:
        yield served


@pytest.fixture
def reasons() -> Iterator[Reasons]:
    """Take the log; called, it says why connections ended."""
    with capture_logs() as entries:
        yield lambda: "\n".join(entry["reason"] for entry in entries if "reason" in entry)
