"""The exceptions of the CPU.

VirtmeshError
|-- BadImage        a kernel, firmware or initrd that can't be loaded
|-- BadAddress      guest memory that is not RAM, or not mapped
`-- CpuRunning      the call needs a CPU that is stopped ("state")
"""

from __future__ import annotations

import grpc

from virtmesh_common.errors import VirtmeshError

Code = grpc.StatusCode


class BadImage(VirtmeshError, code=Code.INVALID_ARGUMENT):
    """A kernel, firmware or initrd that can't be loaded."""


class BadAddress(VirtmeshError, code=Code.OUT_OF_RANGE):
    """Guest memory that is not RAM, or not mapped."""


class CpuRunning(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """The call needs a CPU that is stopped ("state")."""
