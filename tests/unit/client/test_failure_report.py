"""The report of a failed test, when the machine is not what it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import virtmesh_client
from virtmesh_client.pytest_plugin.attach import write_files
from virtmesh_client.pytest_plugin.observer import Evidence
from virtmesh_client.pytest_plugin.screens import shoot
from virtmesh_client.testing import FakeKernel

if TYPE_CHECKING:
    from pathlib import Path


def test_a_screen_that_can_not_be_seen_is_a_line() -> None:
    """Of each; nothing is raised, so the others and the rest of the report are there."""
    with FakeKernel() as kernel, virtmesh_client.connect(kernel.address) as machine:
        seen = list(shoot(machine, ["gpu0", "gpu\x1b[1m"]))
    assert [(name, data) for _, name, data in seen] == [("", b""), ("", b"")]
    lines = [line for line, _, _ in seen]
    assert lines[0].startswith("gpu0: can't be seen: ")
    assert "\x1b" not in lines[1]


def test_a_device_does_not_choose_where_files_are(tmp_path: Path) -> None:
    """Whatever its name is: they stay in the folder of the test."""
    folder = tmp_path / "a" / "b"
    evidence = Evidence(
        {"../../section": "text"}, {"../up.raw": b"1", "/etc/root.png": b"2", "..": b"3"}
    )
    assert write_files(folder, evidence) == str(folder)
    assert {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()} == {
        "a/b/-..-section.txt",
        "a/b/-up.raw",
        "a/b/-etc-root.png",
        "a/b/-",
    }
