"""Each rule about GPUs: a driver that breaks it alone, and one that breaks none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.gpu_rig import BGRX
from tests.support.rule_rig import NEXT, PLAIN, WRITE, Breaks, RuleRig, rule_rig
from virtmesh.gpu.model import GpuModel, GpuOptions
from virtmesh.report.rules import gpu
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import CONTROLQ, CURSORQ, Command, GpuFeature
from virtmesh_common.virtio import mmio

FEATURES = PLAIN | int(GpuFeature.VIRTIO_GPU_F_EDID) | int(GpuFeature.VIRTIO_GPU_F_RESOURCE_BLOB)
SIZE = 16
on_gpu = Breaks()


async def send(
    rig: RuleRig,
    *requests: tuple[Command, bytes],
    features: int = FEATURES,
    queue: int = CONTROLQ,
    room: int = 2048,
) -> None:
    """Bring the device up, and send requests, one after the other."""
    await rig.bring_up(features, queue=queue, size=SIZE)
    for number, request in enumerate(requests):
        offer(rig, 2 * number, request, queue=queue, room=room)


def offer(
    rig: RuleRig,
    head: int,
    request: tuple[Command, bytes],
    *,
    queue: int = CONTROLQ,
    room: int = 2048,
) -> None:
    """Send a request in two descriptors, from `head` on."""
    command, body = request
    sent = spec.CTRL_HDR.pack(command, 0, 0, 0, 0) + body
    rig.descriptor(head, rig.buffer(sent), len(sent), NEXT, head + 1)
    rig.descriptor(head + 1, rig.buffer(bytes(room)), room, WRITE)
    rig.offer(head, queue=queue, size=SIZE)


CREATE = (
    Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
    spec.RESOURCE_CREATE_2D.pack(1, BGRX, 8, 8),
)
INFO = (Command.VIRTIO_GPU_CMD_GET_DISPLAY_INFO, b"")
EDID = (Command.VIRTIO_GPU_CMD_GET_EDID, spec.GET_EDID.pack(0))


def flush(width: int) -> tuple[Command, bytes]:
    """Return a flush of the resource."""
    body = spec.RESOURCE_FLUSH.pack(0, 0, width, 8, 1)
    return Command.VIRTIO_GPU_CMD_RESOURCE_FLUSH, body


def blob(kind: int) -> tuple[Command, bytes]:
    """Return the creation of a blob without memory."""
    body = spec.RESOURCE_CREATE_BLOB.pack(2, kind, 0, 0, 0, 4096)
    return Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, body


def show_blob(pixels: int) -> tuple[Command, bytes]:
    """Return what shows the blob."""
    body = spec.SET_SCANOUT_BLOB.pack(0, 0, 8, 8, 0, 2, 8, 8, pixels, 32, 0, 0, 0, 0, 0, 0, 0)
    return Command.VIRTIO_GPU_CMD_SET_SCANOUT_BLOB, body


@on_gpu("gpu-cursor-size")
async def _(rig: RuleRig) -> None:
    await rig.place(FEATURES, SIZE, CONTROLQ)
    rig.put(mmio.QUEUE_READY, 1)
    control = rig.areas
    rig.areas = await rig.driver.place_queue(CURSORQ, SIZE)
    rig.put(mmio.QUEUE_READY, 1)
    cursor = rig.areas
    await rig.driver.go()
    rig.areas = control
    offer(rig, 0, CREATE)
    rig.areas = cursor
    body = spec.UPDATE_CURSOR.pack(0, 0, 0, 1, 0, 0)
    rig.begin_queue()
    offer(rig, 0, (Command.VIRTIO_GPU_CMD_UPDATE_CURSOR, body), queue=CURSORQ)


ON_GPU: dict[str, Callable[[RuleRig], object]] = {
    "gpu-request": lambda rig: send(rig, (CREATE[0], CREATE[1][:-1])),
    "gpu-command-feature": lambda rig: send(rig, EDID, features=PLAIN),
    "gpu-rectangle": lambda rig: send(rig, CREATE, flush(9)),
    "gpu-blob-mem": lambda rig: send(rig, blob(2)),
    "gpu-blob-format": lambda rig: send(rig, blob(1), show_blob(5)),
}
on_gpu.update(ON_GPU)


@pytest.mark.parametrize("rule", [rule.name for rule in gpu.RULES])
async def test_a_driver_of_a_gpu_has_the_rule_named_and_no_other(rule: str) -> None:
    """Commands are judged where the model carries them out."""
    with rule_rig(GpuModel("gpu0", GpuOptions())) as rig:
        assert await on_gpu.run(rule, rig) == [rule]


@pytest.mark.parametrize("room", [23, 24])
async def test_too_little_room_for_an_answer(room: int) -> None:
    """Less than a header, and less than the payload."""
    with rule_rig(GpuModel("gpu0", GpuOptions())) as rig:
        await send(rig, INFO, room=room)
        assert rig.broken == ["gpu-request"]


async def test_a_driver_that_keeps_the_rules_breaks_none() -> None:
    """Whatever the device answers: a resource that is not there is no violation."""
    with rule_rig(GpuModel("gpu0", GpuOptions())) as rig:
        unref = (Command.VIRTIO_GPU_CMD_RESOURCE_UNREF, spec.RESOURCE_ID.pack(77))
        await send(rig, INFO, EDID, CREATE, flush(8), blob(1), show_blob(1), unref)
        rig.put(mmio.SHM_SEL, 1)  # A driver is told to ask, and hears that there is none (5.7.5).
        assert rig.get(mmio.SHM_LEN_LOW) == rig.get(mmio.SHM_LEN_HIGH) == 0xFFFF_FFFF
        assert rig.broken == []
