"""The kind `input`."""

from virtmesh.input.driver import VirtIOInput
from virtmesh.input.figures import FIGURES
from virtmesh.input.model import make
from virtmesh.input.options import OPTIONS
from virtmesh.kinds.record import DeviceKind

KIND = DeviceKind(
    name="input",
    title="The virtio input device (virtio 1.4, 5.8): a keyboard, mouse, tablet or touch screen.",
    make=make,
    options=OPTIONS,
    driver=VirtIOInput,
    figures=FIGURES,
)
