"""A panel behind TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.tls_panel import Served, tls_panel
from virtmesh_client.testing import FakeKernel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def panel(tmp_path: Path) -> AsyncIterator[Served]:
    """Serve a panel of a machine with one disk."""
    with FakeKernel(vda=1 << 20) as kernel:
        async with tls_panel(tmp_path / "security", kernel.address) as served:
            yield served
