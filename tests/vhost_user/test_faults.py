"""Faults on demand take hold of what a vhost-user front end does, as for any other driver."""

from __future__ import annotations

from typing import Any

from tests.support.vhost_user.backend import Backend
from tests.support.vhost_user.disk import VhostDisk
from virtmesh_common.api.fault.v1 import fault_pb2 as pb
from virtmesh_common.api.fault.v1.fault_pb2_grpc import FaultServiceStub
from virtmesh_common.blk.spec import SECTOR, RequestStatus
from virtmesh_common.channel import open_channel
from virtmesh_common.fault.message import encode_spec
from virtmesh_common.fault.spec import parse_fault

OK = RequestStatus.VIRTIO_BLK_S_OK
ERROR = RequestStatus.VIRTIO_BLK_S_IOERR


async def test_each_second_write_to_a_range_fails_and_writes_nothing(backend: Backend) -> None:
    """A write outside, and a read, are not touched; taken back, all is well."""
    async with open_channel(backend.address) as channel, backend.driven() as (_, ring):
        faults: Any = FaultServiceStub(channel)
        disk = VhostDisk(ring)
        spec = encode_spec(parse_fault("io-error type=write sectors=8-15 every=2"))
        number = (await faults.Add(pb.AddRequest(spec=spec))).fault.id

        assert await disk.write(16, b"\x11" * SECTOR) is OK
        assert await disk.write(8, b"\x22" * SECTOR) is OK
        assert await disk.write(8, b"\x33" * SECTOR) is ERROR
        assert await disk.write(4, b"\x44" * 5 * SECTOR) is OK
        assert await disk.read(8) == b"\x44" * SECTOR
        (ended,) = (await faults.Clear(pb.ClearRequest(ids=[number]))).faults
        assert (ended.seen, ended.hits) == (3, 1)
        assert await disk.write(8, b"\x55" * SECTOR) is OK
        assert await disk.write(8, b"\x66" * SECTOR) is OK
        assert await disk.read(8) == b"\x66" * SECTOR
