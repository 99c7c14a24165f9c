"""What traces call the requests of a disk, and what `virtmesh top` shows of it."""

from __future__ import annotations

from virtmesh.blk.metrics import BYTES, IN_FLIGHT, REQUESTS
from virtmesh.kinds.record import Figure, RequestNames
from virtmesh_common.blk.spec import SECTORLESS, STATUS_NAMES, TYPE_NAMES

REQUEST_NAMES = RequestNames(TYPE_NAMES, STATUS_NAMES, SECTORLESS)
FIGURES = (
    *(Figure(name, REQUESTS, {"type": name, "outcome": "ok"}) for name in TYPE_NAMES.values()),
    Figure("errors", REQUESTS, {"outcome": "ioerr"}, is_total=True),
    Figure("unsupported", REQUESTS, {"outcome": "unsupp"}, is_total=True),
    Figure("bytes", BYTES),
    Figure("in flight", IN_FLIGHT),
)
