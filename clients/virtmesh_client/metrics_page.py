"""The page of metrics that Prometheus scrapes (MetricsService.GetPage), over a machine's address.

with connect() as machine:
    print(machine.metrics())
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from virtmesh_client.channel import ANSWER_SECONDS
from virtmesh_common.api.metrics.v1 import metrics_pb2
from virtmesh_common.api.metrics.v1.metrics_pb2_grpc import MetricsServiceStub
from virtmesh_common.errors import MessageTooLarge

if TYPE_CHECKING:
    from virtmesh_client.channel import KernelChannel

__all__ = ["read_page"]

PAGE_BYTES_MAX = 64 << 20
"""Longest page that is read."""


def read_page(channel: KernelChannel, device: str = "") -> str:
    """Return the page of a machine, or of one of its devices.

    Errors: DeviceNotFound, DeviceLost, NotOffered by older services, MessageTooLarge.
    """
    stub = MetricsServiceStub(channel.grpc)
    limit = ANSWER_SECONDS if channel.timeout is None else channel.timeout
    parts, length = [], 0
    with channel.errors(limit):
        call = stub.GetPage(
            metrics_pb2.GetPageRequest(),
            timeout=None if math.isinf(limit) else limit,
            metadata=channel.metadata(device),
        )
        with channel.running(call):
            for part in channel.messages(call):
                parts.append(part.text)
                length += len(part.text)
                if length > PAGE_BYTES_MAX:
                    raise MessageTooLarge(
                        f"the page of metrics has more than {PAGE_BYTES_MAX} bytes"
                    )
    return b"".join(parts).decode(errors="replace")
