"""Screens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.telemetry.definitions import counter, gauge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.gpu.model import GpuModel

COMMANDS = counter(
    "virtmesh_gpu_commands",
    "Commands carried out. `command` is the name in the specification without VIRTIO_GPU_CMD_,"
    " `response` the one without VIRTIO_GPU_RESP_.",
    "requests",
    "command",
    "response",
)
FLUSHES = counter(
    "virtmesh_gpu_flushes",
    "Times that the driver showed something: flushes, page flips.",
    "flushes",
    "scanout",
)
DAMAGE = counter(
    "virtmesh_gpu_damage_bytes",
    "Bytes of the pixels that changed on a scanout.",
    "bytes",
    "scanout",
)
MERGED = counter(
    "virtmesh_gpu_flushes_merged",
    "Flushes that a watcher got together with later ones, since it was slower.",
    "flushes",
    "scanout",
)
WATCHERS = gauge("virtmesh_gpu_watchers", "Watchers of a scanout.", "watchers", "scanout")
WIDTH = gauge(
    "virtmesh_gpu_picture_width",
    "Columns of the picture; 0: nothing is shown.",
    "pixels",
    "scanout",
)
HEIGHT = gauge("virtmesh_gpu_picture_height", "Rows of the picture.", "pixels", "scanout")
RESOURCES = gauge("virtmesh_gpu_resources", "Resources of the driver.", "resources")
RESOURCE_BYTES = gauge("virtmesh_gpu_resource_bytes", "Bytes of their pixels.", "bytes")
RESOURCE_LIMIT = gauge(
    "virtmesh_gpu_resource_limit_bytes", "Most bytes that resources can have.", "bytes"
)
MALFORMED = counter("virtmesh_gpu_malformed", "Chains without room for an answer.", "chains")


def gpu_metrics(model: GpuModel) -> Iterable[Metric]:
    """Return the metrics of a GPU, read now."""
    scanouts = [(str(one.number), one) for one in model.scanouts]
    yield COMMANDS.of(sorted(model.command_counts.items()))
    yield FLUSHES.of(((number,), one.flushes) for number, one in scanouts)
    yield DAMAGE.of(((number,), one.damage_bytes) for number, one in scanouts)
    yield MERGED.of(((number,), one.flushes_merged) for number, one in scanouts)
    yield WATCHERS.of(((number,), len(one.watchers)) for number, one in scanouts)
    yield WIDTH.of(((number,), one.picture.width if one.picture else 0) for number, one in scanouts)
    yield HEIGHT.of(
        ((number,), one.picture.height if one.picture else 0) for number, one in scanouts
    )
    yield RESOURCES.one(len(model.resources))
    yield RESOURCE_BYTES.one(model.resources.memory)
    yield RESOURCE_LIMIT.one(model.resources.memory_max)
    yield MALFORMED.one(sum(one.malformed for one in model.counters))
