"""The kind `input`."""

from virtmesh.input import metrics
from virtmesh.input.driver import VirtIOInput
from virtmesh.input.options import OPTIONS, make
from virtmesh.input.service import InputService
from virtmesh.kinds.record import DeviceKind
from virtmesh.telemetry.definitions import definitions_in
from virtmesh_common.input import spec

KIND = DeviceKind(
    name="input",
    title="The virtio input device (virtio 1.4, 5.8): a keyboard, mouse, tablet or touch screen.",
    make=make,
    options=OPTIONS,
    name_or_path_options=frozenset({"personality"}),
    virtio_device_id=spec.VIRTIO_ID_INPUT,
    registers=spec.CONFIG,
    services=(InputService,),
    collect=lambda model: metrics.input_metrics(model.injection, model.output, model.personality),
    driver=VirtIOInput,
    metrics=definitions_in(metrics),
)
