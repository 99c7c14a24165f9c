"""Faults on demand: what a device does wrong because you ordered it."""

from virtmesh_client.fault.faults import Faults
from virtmesh_client.fault.models import Fault
from virtmesh_common.fault.errors import FaultNotFound, TooManyFaults
from virtmesh_common.fault.spec import FaultSpec

__all__ = ["Fault", "FaultNotFound", "FaultSpec", "Faults", "TooManyFaults"]
