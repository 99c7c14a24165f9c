"""How much guest memory a device takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from virtmesh.attach import memory_limit
from virtmesh.attach.memory_limit import container_limit, warn_of


def make_groups(folder: Path, limits: dict[str, str]) -> Path:
    """Make control groups with limits; return their root."""
    for group, text in limits.items():
        (folder / group).mkdir(parents=True, exist_ok=True)
        (folder / group / "memory.max").write_text(text + "\n")
    return folder


@pytest.mark.parametrize(
    ("limits", "membership", "found"),
    [
        ({"a/b": "max", "a": "4096"}, "0::/a/b\n", 4096),
        ({"a/b": "1024", "a": "4096"}, "0::/a/b\n", 1024),
        ({".": "512"}, "0::/\n", 512),
        ({"a": "max"}, "0::/a\n", None),
        ({}, "0::/a\n", None),
        ({"a": "4096"}, "5:memory:/a\n", None),
        ({"a": "a lot"}, "0::/a\n", None),
    ],
)
def test_the_limit_of_a_container(
    tmp_path: Path, limits: dict[str, str], membership: str, found: int | None
) -> None:
    """The least of its own and those above it."""
    cgroups = make_groups(tmp_path / "cgroup", limits)
    (tmp_path / "membership").write_text(membership)
    assert container_limit(cgroups, tmp_path / "membership") == found


def test_memory_that_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system would end the service."""
    monkeypatch.setattr(memory_limit, "container_limit", lambda: 1000)
    with capture_logs() as lines:
        warn_of(1000)
        warn_of(1001)
    assert [line["guest_memory_bytes"] for line in lines] == [1001]
