"""Virtio devices, whatever their kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.telemetry.definitions import counter, gauge
from virtmesh_common.virtio.features import feature_names
from virtmesh_common.virtio.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.virtio.mmio_device import VirtioMmio

STATUS = gauge(
    "virtmesh_virtio_status",
    "1 while a bit of the device status field is set (virtio 1.4, 2.1).",
    "",
    "bit",
)
FEATURE = gauge(
    "virtmesh_virtio_feature",
    "1 for a feature bit that is negotiated, 0 for one that is only offered.",
    "",
    "feature",
)
FEATURES_REFUSED = counter(
    "virtmesh_virtio_features_refused", "Times that FEATURES_OK was refused.", "refusals"
)


QUIRKS = counter(
    "virtmesh_virtio_quirk_uses",
    "Times that a driver needed a quirk of the device.",
    "uses",
    "quirk",
)


def virtio_metrics(device: VirtioMmio) -> Iterable[Metric]:
    """Return the metrics of the transport, read now."""
    state, family = device.state, device.model.family
    yield STATUS.of(((str(bit.name),), bool(state.device_status & bit)) for bit in Status)
    agreed = set(feature_names(state.driver_features, family))
    yield FEATURE.of(
        ((name,), name in agreed) for name in feature_names(state.device_features, family)
    )
    yield FEATURES_REFUSED.one(device.features_refused)
    yield QUIRKS.of(((name,), count) for name, count in sorted(device.quirks.uses.items()))
