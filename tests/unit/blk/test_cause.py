"""Asking a disk for the cause of a failed request, when that can't be done."""

from __future__ import annotations

from pathlib import Path

import grpc.aio

from virtmesh.blk.cause import explain
from virtmesh.blk.request import BlkReq
from virtmesh_common.blk.errors import BlockIOError
from virtmesh_common.blk.spec import RequestType

READ = BlkReq(RequestType.VIRTIO_BLK_T_IN)


async def test_a_disk_that_is_gone_gives_no_cause(tmp_path: Path) -> None:
    """Neither one that does not answer, nor one whose channel the driver has closed."""
    error = BlockIOError("the disk failed")
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/none.sock") as channel:
        assert await explain(error, channel, READ, 0) is error
    assert await explain(error, channel, READ, 0) is error
