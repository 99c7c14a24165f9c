"""What traces call the commands of a GPU, and what `virtmesh top` shows of it."""

from __future__ import annotations

from virtmesh.gpu import metrics
from virtmesh.kinds.record import Figure, RequestNames
from virtmesh_common.gpu.spec import COMMAND_NAMES, RESPONSE_NAMES, trace_number

TRACE_NAMES = {trace_number(number): name for number, name in COMMAND_NAMES.items()}
REQUEST_NAMES = RequestNames(TRACE_NAMES, RESPONSE_NAMES, frozenset(TRACE_NAMES))
FIGURES = (
    Figure("flushes", metrics.FLUSHES),
    Figure("damage", metrics.DAMAGE),
    Figure("watchers", metrics.WATCHERS),
    Figure("resources", metrics.RESOURCES),
    Figure("pixels", metrics.RESOURCE_BYTES),
)
