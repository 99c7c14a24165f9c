"""Why a request failed: the status byte (virtio 1.4, 5.2.6) can't say it, so the disk is asked.

The disk keeps its last failures with the address of their status byte. A driver that asks leaves
that byte's memory alone until it has the answer, and the disk notes a failure before it completes
the request: so the last failure at that address is the one that is meant. A disk that has forgotten
it, or does not answer in time, gives no cause rather than another's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import grpc

from virtmesh_common.api.block.v1 import block_pb2, block_pb2_grpc
from virtmesh_common.blk.errors import BlockIOError
from virtmesh_common.blk.failure import UNKNOWN
from virtmesh_common.blk.spec import TYPE_NAMES
from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from virtmesh.blk.request import BlkReq

REFUSED = "REFUSED"
"""The cause of a request that the disk did not carry out."""
ASK_S = 1.0
"""Longest wait for the disk's answer."""
CAUSE = re.compile(r"[A-Z][A-Z0-9_]{0,31}")
"""What the name of a cause looks like."""
TEXT_MAX = 200
"""Most characters of what the disk says."""


async def explain(
    error: BlockIOError,
    channel: grpc.aio.Channel,
    request: BlkReq,
    status_address: int,
) -> BlockIOError:
    """Return the error of a request with its cause; the same error if it can't be known."""
    asking = block_pb2.ListFailuresRequest(status_address=status_address)
    stub = block_pb2_grpc.BlockAdminServiceStub(channel)
    try:
        answer = await stub.ListFailures(asking, timeout=ASK_S)
    except (grpc.RpcError, grpc.aio.UsageError):  # The latter after the bus was closed.
        return error
    if not answer.failures:
        return error
    failure = answer.failures[-1]
    # A disk does not believe the sector of a request that it refuses.
    same_place = failure.cause == REFUSED or failure.sector == request.first_sector
    is_meant = failure.type == TYPE_NAMES[request.type] and same_place
    if not is_meant or not CAUSE.fullmatch(failure.cause) or failure.cause == UNKNOWN:
        return error
    text = printable(failure.text[:TEXT_MAX]) or failure.cause
    metadata = {**error.metadata, "cause": failure.cause, "errno": failure.errno}
    return BlockIOError(f"{error.message}: {text}", **metadata)
