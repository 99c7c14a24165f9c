"""What the client knows of disks that do not describe themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client.trace.kind_faces import KindFace
from virtmesh_common.blk import spec
from virtmesh_common.interface import Interface, RegisterSpace, RequestType
from virtmesh_common.virtio.features import feature_bits

if TYPE_CHECKING:
    from virtmesh_client.trace.events import Source


def known_interface(source: Source) -> Interface:
    """Return the interface of a disk of an earlier version."""
    return Interface(
        kind=source.kind,
        space=RegisterSpace.VIRTIO_CONFIG,
        registers=spec.CONFIG,
        features=tuple(feature_bits(spec.BlkFeature).items()),
        request_types=tuple(
            RequestType(number, name, has_sector=number not in spec.SECTORLESS)
            for number, name in spec.TYPE_NAMES.items()
        ),
        request_statuses=tuple(spec.STATUS_NAMES.items()),
    )


FACE = KindFace(interface=known_interface)
