"""Machine files that no parser takes to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from virtmesh.machine import load
from virtmesh_common.errors import BadMachine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("value", ["[" * 100_000, "{a=" * 10_000, "9" * 5000])
def test_what_is_too_deep_or_too_long_is_told_as_what_is_wrong(tmp_path: Path, value: str) -> None:
    """Not by a traceback."""
    file = tmp_path / "machine.toml"
    file.write_text(f"x = {value}", encoding="utf-8")
    with pytest.raises(BadMachine, match="not TOML"):
        load(file)
