"""The exceptions of faults on demand. virtmesh_common.errors says how they travel over gRPC.

VirtmeshError
|-- FaultNotFound         no fault has that number
`-- TooManyFaults         the device has as many as it can have
"""

from __future__ import annotations

from grpc import StatusCode as Code

from virtmesh_common.errors import VirtmeshError


class FaultNotFound(VirtmeshError, code=Code.NOT_FOUND):
    """No fault has that number."""


class TooManyFaults(VirtmeshError, code=Code.RESOURCE_EXHAUSTED):
    """The device has as many as it can have."""
