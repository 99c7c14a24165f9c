"""A person at the console of a kernel without devices."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.console_rig import ConsoleRig, sitting
from virtmesh.kernel.monitor import commands
from virtmesh.kernel.monitor.command import Command


@pytest.fixture
async def desk() -> AsyncIterator[ConsoleRig]:
    """Sit down at a console."""
    async with sitting() as desk:
        yield desk


@pytest.fixture
def extra(monkeypatch: pytest.MonkeyPatch) -> dict[str, Command]:
    """Return the table of commands, for a test to add its own."""
    table = dict(commands.all_commands())
    monkeypatch.setattr(commands, "all_commands", lambda: table)
    monkeypatch.setattr("virtmesh.kernel.monitor.session.all_commands", lambda: table)
    return table
