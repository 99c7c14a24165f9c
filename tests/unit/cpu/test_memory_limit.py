"""Guest RAM beyond the limit of the container is refused, before a guest is killed for using it."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtmesh.cpu.memory_limit import check_memory_limit
from virtmesh_common.errors import BadMachine


def test_ram_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    """The message has both numbers and says what to change."""
    limit = tmp_path / "memory.max"
    limit.write_text(f"{1 << 30}\n")

    check_memory_limit(1 << 30, [limit])
    with pytest.raises(
        BadMachine, match=r"2048 MiB is more than the 1024 MiB.*VIRTMESH_GUEST_LIMIT"
    ):
        check_memory_limit(2 << 30, [limit])


@pytest.mark.parametrize("text", ["max\n", "", f"{(1 << 63) - 4096}\n"])
def test_without_a_limit_any_ram_will_do(tmp_path: Path, text: str) -> None:
    """Version 2 says "max", version 1 a number beyond all memory; a host has no such file."""
    limit = tmp_path / "memory.max"
    limit.write_text(text)

    check_memory_limit(1 << 40, [limit, tmp_path / "missing"])
