"""The kind `blk`."""

from virtmesh.blk.driver import VirtIOBlk
from virtmesh.blk.figures import FIGURES, REQUEST_NAMES
from virtmesh.blk.model import make
from virtmesh.blk.options import OPTIONS
from virtmesh.kinds.record import DeviceKind

KIND = DeviceKind(
    name="blk",
    title="The virtio block device (virtio 1.4, 5.2): configuration and features of a disk.",
    make=make,
    options=OPTIONS,
    driver=VirtIOBlk,
    requests=REQUEST_NAMES,
    figures=FIGURES,
)
