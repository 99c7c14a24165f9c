"""What a flight recorder holds, as rows to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.telemetry.recorder import read_page
from virtmesh_common.api.trace.v1 import trace_pb2 as pb

if TYPE_CHECKING:
    from virtmesh_native import Recorder

Row = tuple[str, int, int, int, int, int]
"""Kind, detail, queue, token, value, extra."""


def rows(recorder: Recorder) -> list[Row]:
    """Return all events."""
    page = read_page(recorder, 0, 4096)
    columns = (page.details, page.queues, page.tokens, page.values, page.extras)
    names = [pb.EventKind.Name(kind).removeprefix("EVENT_KIND_") for kind in page.kinds]
    return list(zip(names, *columns, strict=True))
