"""How long a disk waits for an image that is in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from virtmesh.blk import confined
from virtmesh.blk.settings import BlkOptions
from virtmesh_common.blk.errors import ImageLocked

if TYPE_CHECKING:
    from pathlib import Path


class Locks:
    """Answers tries to lock an image: each of `holders` has it once, then nobody."""

    def __init__(self, *holders: str) -> None:
        self.holders = [*holders]

    def try_image(self, *_arguments: object, **_options: object) -> None:
        """Refuse as often as somebody has it."""
        if self.holders:
            raise ImageLocked("in use", holder=self.holders.pop(0))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Make an image."""
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1 << 20))
    return path


def test_a_disk_that_is_started_again_waits_while_nobody_seems_to_have_its_image(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the storage, with what it was told by the service that was killed."""
    locks = Locks("", "")
    monkeypatch.setattr(confined, "try_image", locks.try_image)

    confined.lock(BlkOptions(image), confined.LEAVING_SECONDS)

    assert locks.holders == []


@pytest.mark.parametrize(("patience", "holder"), [(10.0, "qemu (pid 7)"), (0.0, "")])
def test_others_are_told_at_once(
    image: Path, monkeypatch: pytest.MonkeyPatch, patience: float, holder: str
) -> None:
    """Somebody has it who can be named, or it is a disk of somebody who can be told."""
    locks = Locks(holder, holder)
    monkeypatch.setattr(confined, "try_image", locks.try_image)

    with pytest.raises(ImageLocked):
        confined.lock(BlkOptions(image), patience)

    assert len(locks.holders) == 1
