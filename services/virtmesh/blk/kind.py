"""The kind `blk`."""

from virtmesh.blk import driver_metrics, metrics
from virtmesh.blk.check import check
from virtmesh.blk.confined import needs, prepare
from virtmesh.blk.dashboard import BOARD
from virtmesh.blk.driver import VirtIOBlk
from virtmesh.blk.figures import FIGURES, REQUEST_NAMES
from virtmesh.blk.kernel_service import BlockDeviceService
from virtmesh.blk.options import OPTIONS, RESUME, make
from virtmesh.blk.service import BlockAdmin
from virtmesh.kinds.record import DeviceKind
from virtmesh.telemetry.definitions import definitions_in
from virtmesh.virtio.quirks import QUIRKS
from virtmesh_common.blk import spec
from virtmesh_common.fault.words import DISK

KIND = DeviceKind(
    name="blk",
    title="The virtio block device (virtio 1.4, 5.2): configuration and features of a disk.",
    make=make,
    restart_options=RESUME,
    options=OPTIONS,
    check=check,
    prepare=prepare,
    needs=needs,
    path_options=frozenset({"image", "creation-mark", "write-log"}),
    virtio_device_id=spec.VIRTIO_ID_BLOCK,
    quirks=QUIRKS,
    registers=spec.CONFIG,
    faults=DISK,
    services=(BlockAdmin,),
    collect=metrics.blk_metrics,
    driver=VirtIOBlk,
    kernel_services=(BlockDeviceService,),
    driver_metrics=driver_metrics.blk_driver_metrics,
    metrics=definitions_in(metrics),
    dashboard=BOARD,
    requests=REQUEST_NAMES,
    figures=FIGURES,
)
