"""The kind `gpu`."""

from virtmesh.gpu import metrics
from virtmesh.gpu.dashboard import BOARD
from virtmesh.gpu.driver import VirtIOGpu
from virtmesh.gpu.figures import FIGURES, REQUEST_NAMES
from virtmesh.gpu.options import OPTIONS, check, make
from virtmesh.gpu.service import DisplayService
from virtmesh.kinds.record import DeviceKind
from virtmesh.telemetry.definitions import definitions_in
from virtmesh.virtio.quirks import QUIRKS
from virtmesh_common.fault.words import DISPLAY
from virtmesh_common.gpu import spec

KIND = DeviceKind(
    name="gpu",
    title="The virtio GPU device (virtio 1.4, 5.7), in 2D: a screen, or up to four.",
    make=make,
    options=OPTIONS,
    check=check,
    virtio_device_id=spec.VIRTIO_ID_GPU,
    quirks=QUIRKS,
    registers=spec.CONFIG,
    faults=DISPLAY,
    services=(DisplayService,),
    collect=metrics.gpu_metrics,
    driver=VirtIOGpu,
    metrics=definitions_in(metrics),
    requests=REQUEST_NAMES,
    figures=FIGURES,
    dashboard=BOARD,
)
