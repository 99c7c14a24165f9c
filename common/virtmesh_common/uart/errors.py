"""The exceptions of serial lines. virtmesh_common.errors says how they travel over gRPC.

VirtmeshError
|-- LineFull                  input that a serial line has no room for ("room_bytes")
`-- ExpectTimeout             a serial line that did not bring what was waited for
"""

from __future__ import annotations

from grpc import StatusCode as Code

from virtmesh_common.errors import VirtmeshError


class LineFull(VirtmeshError, code=Code.RESOURCE_EXHAUSTED):
    """Input that a serial line has no room for ("room_bytes")."""


class ExpectTimeout(VirtmeshError, code=Code.DEADLINE_EXCEEDED):
    """A serial line that did not bring what was waited for."""
