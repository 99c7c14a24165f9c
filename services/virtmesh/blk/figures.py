"""What traces call the requests of a disk, and what `virtmesh top` shows of it."""

from __future__ import annotations

from virtmesh.blk import metrics
from virtmesh.kinds.record import Figure, RequestNames
from virtmesh_common.blk.spec import SECTORLESS, STATUS_NAMES, TYPE_NAMES

REQUEST_NAMES = RequestNames(TYPE_NAMES, STATUS_NAMES, SECTORLESS)
FIGURES = (
    *(
        Figure(name, metrics.REQUESTS, {"type": name, "outcome": "ok"})
        for name in TYPE_NAMES.values()
    ),
    Figure("errors", metrics.REQUESTS, {"outcome": "ioerr"}, is_total=True),
    Figure("unsupported", metrics.REQUESTS, {"outcome": "unsupp"}, is_total=True),
    Figure("bytes", metrics.BYTES),
    Figure("in flight", metrics.IN_FLIGHT),
)
