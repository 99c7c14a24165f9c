"""What the client knows of input devices that do not describe themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client.trace.kind_faces import KindFace
from virtmesh_common.input import spec
from virtmesh_common.interface import Interface, RegisterSpace

if TYPE_CHECKING:
    from virtmesh_client.trace.events import Source


def known_interface(source: Source) -> Interface:
    """Return the interface of an input device of an earlier version."""
    return Interface(kind=source.kind, space=RegisterSpace.VIRTIO_CONFIG, registers=spec.CONFIG)


FACE = KindFace(interface=known_interface)
