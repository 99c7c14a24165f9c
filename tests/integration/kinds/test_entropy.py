"""docs/add-a-device.md, typed line by line: a device of one package, and no other edit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.tutorial import Reader, files_of, steps_of

pytestmark = pytest.mark.processes

PAGE = (ROOT / "docs" / "add-a-device.md").read_text(encoding="utf-8")
FILES = files_of(PAGE)
STEPS = steps_of(PAGE)
PACKAGE = "virtmesh_entropy/"
READ = "python read.py"
LINES_MAX = 60
"""Most lines of the model."""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Make a reader in an empty folder; what it starts is stopped at the end."""
    reader = Reader(tmp_path)
    yield reader
    reader.type("virtmesh down")


def test_the_page_adds_a_device(reader: Reader) -> None:
    """Host, probe, devices, trace, top, /metrics and dashboard; a driver reads bytes from it."""
    for name, text in FILES.items():
        reader.write(name, text)

    printed = [reader.follow(step) for step in STEPS]

    read = [text for step, text in zip(STEPS, printed, strict=True) if step.command == READ]
    assert len(read) == 2
    assert read[0] != read[1]


def test_the_page_shows_the_device_everywhere() -> None:
    """So that the test above can't pass by a page that leaves something out."""
    typed = "\n".join(step.command for step in STEPS)

    for command in (
        "virtmesh-device entropy",
        "virtmesh up --device entropy",
        "virtmesh devices",
        READ,
        "virtmesh trace --device rng --kinds register",
        "virtmesh trace --device rng --kinds queue,request",
        "virtmesh top --once",
        "virtmesh metrics",
        "python -m virtmesh.kinds.dashboard entropy",
        "virtmesh down",
    ):
        assert command in typed


def test_the_package_is_small() -> None:
    """Three files, and a model that fits on a screen."""
    package = {name for name in FILES if name.startswith(PACKAGE)}

    assert package == {f"{PACKAGE}{name}.py" for name in ("__init__", "driver", "kind")}
    assert len(FILES[f"{PACKAGE}__init__.py"].splitlines()) <= LINES_MAX
