"""The machine that is attacked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.attacks import Rig


@pytest.fixture(scope="package")
def rig() -> Iterator[Rig]:
    """Run it: two disks, a keyboard, and a device service that nobody drives."""
    with tempfile.TemporaryDirectory(prefix="vm-att-") as folder:
        made = Rig(Path(folder))
        with made.running():
            yield made
