"""Scrapers that are slow only because the host is."""

from __future__ import annotations

import pytest

from virtmesh.scraping import connection, server

PATIENCE_SECONDS = 60.0


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a server wait for them. A test of a limit sets that one to less."""
    monkeypatch.setattr(connection, "REQUEST_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(connection, "ANSWER_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(server, "PAGE_SECONDS", PATIENCE_SECONDS)
