"""Screenshots of the screen of a real kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client import connect
from virtmesh_common.gpu.errors import NoPicture

if TYPE_CHECKING:
    from tests.support.riscv.boot import Rig
    from virtmesh_client.screen.models import Pixels


def shot(rig: Rig) -> Pixels:
    """Take a screenshot."""
    with connect(rig.cli.state.address) as machine:
        return machine.screen("gpu0").pixels()


def shown(rig: Rig, *gone: type[Exception]) -> bytes:
    """Return the pixels of a screenshot: nothing while the screen shows nothing.

    `gone` are errors that mean the same to a test that breaks its device.
    """
    nothing: tuple[type[Exception], ...] = (NoPicture, *gone)
    try:
        return shot(rig).data
    except nothing:
        return b""
