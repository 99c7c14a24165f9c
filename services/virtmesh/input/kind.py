"""The kind `input`."""

from virtmesh.input import driver_metrics, metrics
from virtmesh.input.dashboard import BOARD
from virtmesh.input.driver import VirtIOInput
from virtmesh.input.figures import FIGURES
from virtmesh.input.kernel_service import InputDeviceService
from virtmesh.input.options import OPTIONS, check, make, needs
from virtmesh.input.relay import InputRelay
from virtmesh.input.service import InputService
from virtmesh.kinds.record import DeviceKind
from virtmesh.telemetry.definitions import definitions_in
from virtmesh.virtio.quirks import QUIRKS
from virtmesh_common.fault.words import INPUT
from virtmesh_common.input import spec

KIND = DeviceKind(
    name="input",
    title="The virtio input device (virtio 1.4, 5.8): a keyboard, mouse, tablet or touch screen.",
    make=make,
    options=OPTIONS,
    check=check,
    needs=needs,
    name_or_path_options=frozenset({"personality"}),
    virtio_device_id=spec.VIRTIO_ID_INPUT,
    quirks=QUIRKS,
    registers=spec.CONFIG,
    faults=INPUT,
    services=(InputService,),
    collect=metrics.input_metrics,
    driver=VirtIOInput,
    kernel_services=(InputDeviceService,),
    relays=(InputRelay,),
    driver_metrics=driver_metrics.input_driver_metrics,
    metrics=definitions_in(metrics),
    dashboard=BOARD,
    figures=FIGURES,
)
