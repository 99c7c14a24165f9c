"""One keyboard with TLS, and its people."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.support.secured import Keyboard, People

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    """Make an authority, in a folder with a path short enough for sockets."""
    with TemporaryDirectory(prefix="vm-") as folder:
        yield People(Path(folder))


@pytest.fixture(scope="module")
def keyboard(people: People) -> Iterator[Keyboard]:
    """Start a keyboard."""
    with Keyboard(people) as keyboard:
        yield keyboard
