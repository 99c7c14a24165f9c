"""Asking the kernel service of a machine whether its devices are ready."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from virtmesh_common.api.kernel.v1 import kernel_pb2, kernel_pb2_grpc
from virtmesh_common.channel import open_sync_channel
from virtmesh_common.errors import BadMachine, ServiceUnavailable, from_rpc_error
from virtmesh_common.printable import printable
from virtmesh_common.request_id import REQUEST_ID_KEY

if TYPE_CHECKING:
    from virtmesh.local.plan import Plan

POLL_SECONDS = 0.02
"""How often the kernel is asked whether its devices are ready."""
REQUEST_ID = "supervisor"
"""Identifies these calls: the kernel logs a call only once that ends as the one before it did."""
READY = {kernel_pb2.PROBE_STATE_READY, kernel_pb2.PROBE_STATE_RESERVED}


async def ask_why_not(plan: Plan, wait: float) -> str:
    """Return why a machine is not ready; nothing when it is. The kernel has `wait` seconds.

    Errors: BadMachine.
    """
    # A connection that failed once waits before it tries again; a new one does not.
    channel = open_sync_channel(plan.watched)
    list_devices = kernel_pb2_grpc.KernelServiceStub(channel).ListDevices
    try:
        found = await asyncio.to_thread(
            list_devices,
            kernel_pb2.ListDevicesRequest(),
            timeout=wait,
            metadata=((REQUEST_ID_KEY, REQUEST_ID),),
        )
    except grpc.RpcError as failure:
        error = from_rpc_error(failure, plan.watched)
        if isinstance(error, ServiceUnavailable):
            return error.message
        raise error from failure
    finally:
        channel.close()  # it ends the call, when this is cancelled
    unready = [one for one in found.devices if one.state not in READY]
    why = "; ".join(f"{one.name} is {spell(one.state)}: {one.detail}" for one in unready)
    if any(one.state == kernel_pb2.PROBE_STATE_FAILED for one in unready):
        raise BadMachine(f"{plan.name} does not start: {printable(why)}")
    return printable(why)


def spell(state: kernel_pb2.ProbeState.ValueType) -> str:
    """Spell how far the kernel is with a device."""
    return kernel_pb2.ProbeState.Name(state).removeprefix("PROBE_STATE_").lower()
