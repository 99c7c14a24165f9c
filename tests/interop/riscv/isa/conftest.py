"""The hart alone, for tests that compare it with QEMU."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.isa import toolchain


@pytest.fixture(scope="session")
def bare_hart() -> Path:
    """Build what runs an image on the hart alone."""
    missing = toolchain.missing_packages()
    if missing:
        pytest.skip(f"needs the packages {' '.join(missing)}")
    return toolchain.build_bare_hart()
