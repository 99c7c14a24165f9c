"""The page of metrics that Prometheus scrapes (MetricsService.GetPage), over a machine's address.

with connect() as machine:
    print(machine.metrics())
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from virtmesh_client.channel import ANSWER_SECONDS
from virtmesh_common.api.metrics.v1 import metrics_pb2
from virtmesh_common.api.metrics.v1.metrics_pb2_grpc import MetricsServiceStub
from virtmesh_common.errors import MessageTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.channel import KernelChannel

__all__ = ["read_page", "samples_of"]

PAGE_BYTES_MAX = 64 << 20
"""Longest page that is read."""
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(rf'({NAME})="((?:[^"\\]|\\.)*)"')
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
ESCAPES = {"\\\\": "\\", "\\n": "\n", '\\"': '"'}
"""In the value of a label."""


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


def samples_of(page: str) -> Iterator[dict[str, Any]]:
    """Yield the samples of a page: name, labels, and value, or its text if it is not finite."""
    for line in page.split("\n"):
        found = SAMPLE.match(line)
        if found is None:
            continue  # a comment, or the end
        name, labels, text = found.groups()
        try:
            value = float(text)
        except ValueError:
            continue
        yield {
            "name": name,
            "labels": {key: unescape(said) for key, said in LABEL.findall(labels or "")},
            "value": value if math.isfinite(value) else text,
        }


def unescape(text: str) -> str:
    """Return the value of a label as it was meant."""
    return re.sub(r"\\.", lambda match: ESCAPES.get(match[0], match[0]), text)
