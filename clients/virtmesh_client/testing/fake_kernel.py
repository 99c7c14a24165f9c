"""A kernel service with disks in memory, for tests of scripts. It needs no devices and no images.

It serves virtmesh.kernel.v1 and, for each disk, the services to which a kernel forwards calls:
BlockAdminService and DeviceService.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import grpc

from virtmesh_client.testing.fake_calls import answers, streams
from virtmesh_client.testing.fake_disk import BLOCK_BYTES, FakeDisk
from virtmesh_common.api.block.v1 import block_pb2 as block_pb
from virtmesh_common.api.block.v1 import block_pb2_grpc as block_rpc
from virtmesh_common.api.device.v1 import device_pb2 as device_pb
from virtmesh_common.api.device.v1 import device_pb2_grpc as device_rpc
from virtmesh_common.api.kernel.v1 import block_device_pb2 as disk_pb
from virtmesh_common.api.kernel.v1 import block_device_pb2_grpc as disk_rpc
from virtmesh_common.api.kernel.v1 import kernel_pb2 as kernel_pb
from virtmesh_common.api.kernel.v1 import kernel_pb2_grpc as kernel_rpc
from virtmesh_common.blk.errors import BadSize, FileNotTaken, NotRecording, WouldShrink
from virtmesh_common.channel import DEVICE_KEY, server_options
from virtmesh_common.errors import (
    BadStream,
    DeviceNotFound,
    MessageTooLarge,
)
from virtmesh_common.sizes import CHUNK_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS_AT_ONCE = 32
"""Threads of the server. Each open stream occupies one."""


class Disks(dict[str, FakeDisk]):
    """The disks by name. Errors: DeviceNotFound for an unknown name."""

    def __missing__(self, name: str) -> FakeDisk:
        raise DeviceNotFound(f"no device is named {name!r}: the devices are {', '.join(self)}")

    def of_call(self, context: grpc.ServicerContext) -> FakeDisk:
        """Return the disk that the metadata of a forwarded call names."""
        metadata = dict(context.invocation_metadata())
        return self[str(metadata.get(DEVICE_KEY, ""))]


class _Kernel(kernel_rpc.KernelServiceServicer):
    """Serves KernelService."""

    def __init__(self, name: str, disks: Disks) -> None:
        self._name = name
        self._disks = disks

    def ListDevices(
        self, _request: kernel_pb.ListDevicesRequest, _context: grpc.ServicerContext
    ) -> kernel_pb.ListDevicesResponse:
        """List the disks, all ready."""
        return kernel_pb.ListDevicesResponse(
            machine=self._name,
            devices=[
                kernel_pb.Device(
                    name=disk.name,
                    compatible="virtio,mmio",
                    mmio_address=0x1000_1000 + slot * 0x1000,
                    irq=1 + slot,
                    virtio_device_id=2,
                    state=kernel_pb.PROBE_STATE_READY,
                    driver="VirtIOBlk",
                    features=["VIRTIO_BLK_F_FLUSH", "VIRTIO_F_VERSION_1"],
                    doorbell="eventfd",
                    requests=disk.requests.total(),
                )
                for slot, disk in enumerate(self._disks.values())
            ],
        )

    def ListNodes(
        self, _request: kernel_pb.ListNodesRequest, _context: grpc.ServicerContext
    ) -> kernel_pb.ListNodesResponse:
        """List the nodes of the disks, all driven."""
        nodes = [
            kernel_pb.Node(
                path=f"/soc/virtio_mmio@{0x1000_1000 + slot * 0x1000:x}",
                compatible="virtio,mmio",
                fate=kernel_pb.NODE_FATE_DRIVEN,
                device=disk.name,
                mmio_address=0x1000_1000 + slot * 0x1000,
            )
            for slot, disk in enumerate(self._disks.values())
        ]
        return kernel_pb.ListNodesResponse(nodes=nodes)


class _BlockDevice(disk_rpc.BlockDeviceServiceServicer):
    """Serves BlockDeviceService."""

    def __init__(self, disks: Disks) -> None:
        self._disks = disks

    @answers
    def Identify(
        self, request: disk_pb.IdentifyRequest, _context: grpc.ServicerContext
    ) -> disk_pb.IdentifyResponse:
        """Describe a disk."""
        disk = self._disks[request.device]
        return disk_pb.IdentifyResponse(
            capacity_bytes=len(disk.data),
            block_size_bytes=BLOCK_BYTES,
            read_only=disk.read_only,
            serial=f"fake-{disk.name}",
            write_back=True,
            queues=1,
            request_size_max_bytes=CHUNK_LIMIT_BYTES,
            features=["VIRTIO_BLK_F_FLUSH", "VIRTIO_F_VERSION_1"],
        )

    @streams
    def Read(
        self, request: disk_pb.ReadRequest, _context: grpc.ServicerContext
    ) -> Iterator[disk_pb.ReadResponse]:
        """Stream a range."""
        disk = self._disks[request.device]
        start = request.offset_bytes
        length = request.length_bytes or max(0, len(disk.data) - start)
        disk.check(start, length)
        for done in range(0, length, CHUNK_LIMIT_BYTES):
            disk.check_alive(done)
            size = min(CHUNK_LIMIT_BYTES, length - done)
            yield disk_pb.ReadResponse(data=disk.read(start + done, size))

    @streams
    def Write(
        self, requests: Iterator[disk_pb.WriteRequest], _context: grpc.ServicerContext
    ) -> Iterator[disk_pb.WriteResponse]:
        """Write a stream, with a report after each piece."""
        first = next(requests, disk_pb.WriteRequest())
        if first.WhichOneof("content") != "header":
            raise BadStream("the first message of a write is not a header: send the header first")
        disk = self._disks[first.header.device]
        disk.check_writable()
        done = 0
        for request in requests:
            if request.WhichOneof("content") != "data":
                raise BadStream("a write has a second header: send only data after the first one")
            if len(request.data) > CHUNK_LIMIT_BYTES:
                raise MessageTooLarge(
                    f"{len(request.data)} bytes in one message: send at most {CHUNK_LIMIT_BYTES}"
                )
            disk.check_alive(done)
            disk.write(first.header.offset_bytes + done, request.data)
            done += len(request.data)
            yield disk_pb.WriteResponse(written_bytes=done)
        yield disk_pb.WriteResponse(written_bytes=done)

    @streams
    def Import(self, request: disk_pb.ImportRequest, _context: grpc.ServicerContext) -> Any:
        """Take no file: clients use Write."""
        raise FileNotTaken(f"{self._disks[request.device].name} takes no files")

    @streams
    def Export(self, request: disk_pb.ExportRequest, _context: grpc.ServicerContext) -> Any:
        """Take no file: clients use Read."""
        raise FileNotTaken(f"{self._disks[request.device].name} takes no files")

    @answers
    def Flush(
        self, request: disk_pb.FlushRequest, _context: grpc.ServicerContext
    ) -> disk_pb.FlushResponse:
        """Count a flush."""
        self._disks[request.device].count("FLUSH")
        return disk_pb.FlushResponse()

    @answers
    def Discard(
        self, request: disk_pb.DiscardRequest, _context: grpc.ServicerContext
    ) -> disk_pb.DiscardResponse:
        """Discard a range. After that it reads as zeroes."""
        self._clear(request, "DISCARD")
        return disk_pb.DiscardResponse()

    @answers
    def WriteZeroes(
        self, request: disk_pb.WriteZeroesRequest, _context: grpc.ServicerContext
    ) -> disk_pb.WriteZeroesResponse:
        """Fill a range with zeroes."""
        self._clear(request, "WRITE_ZEROES")
        return disk_pb.WriteZeroesResponse()

    def _clear(
        self, request: disk_pb.DiscardRequest | disk_pb.WriteZeroesRequest, kind: str
    ) -> None:
        disk = self._disks[request.device]
        start, length = request.offset_bytes, request.length_bytes
        disk.check_writable()
        disk.check_aligned(start, length)
        disk.check(start, length)
        disk.data[start : start + length] = bytes(length)
        disk.count(kind, length)


class _BlockAdmin(block_rpc.BlockAdminServiceServicer):
    """Serves BlockAdminService for the disk that the metadata names."""

    def __init__(self, disks: Disks) -> None:
        self._disks = disks

    @answers
    def GetInfo(
        self, _request: block_pb.GetInfoRequest, context: grpc.ServicerContext
    ) -> block_pb.GetInfoResponse:
        """Describe a disk and its image."""
        disk = self._disks.of_call(context)
        return block_pb.GetInfoResponse(
            capacity_bytes=len(disk.data),
            block_size_bytes=BLOCK_BYTES,
            read_only=disk.read_only,
            serial=f"fake-{disk.name}",
            image_path=f"memory:{disk.name}",
            allocated_bytes=len(disk.data),
            config_generation=disk.generation,
        )

    @answers
    def Resize(
        self, request: block_pb.ResizeRequest, context: grpc.ServicerContext
    ) -> block_pb.ResizeResponse:
        """Change the capacity."""
        disk = self._disks.of_call(context)
        before, size = len(disk.data), request.capacity_bytes
        disk.check_writable()
        if size == 0 or size % BLOCK_BYTES:
            raise BadSize(
                f"a capacity of {size} bytes is not valid: choose a multiple of {BLOCK_BYTES}"
                " greater than 0"
            )
        if size < before and not request.allow_shrink:
            raise WouldShrink(
                f"{disk.name} has {before} bytes, and {size} would cut data off: allow it to shrink"
            )
        disk.data[size:] = bytes(max(0, size - before))
        disk.generation += 1
        return block_pb.ResizeResponse(previous_capacity_bytes=before, capacity_bytes=size)

    @answers
    def Flush(self, _: block_pb.FlushRequest, context: grpc.ServicerContext) -> Any:
        """Count a flush."""
        self._disks.of_call(context).count("FLUSH")
        return block_pb.FlushResponse()

    @answers
    def SetReadOnly(self, request: block_pb.SetReadOnlyRequest, context: Any) -> Any:
        """Refuse or accept writes."""
        self._disks.of_call(context).read_only = request.read_only
        return block_pb.SetReadOnlyResponse()

    @answers
    def Resume(self, _: block_pb.ResumeRequest, context: grpc.ServicerContext) -> Any:
        """Resume nothing: these disks hold no requests."""
        self._disks.of_call(context)
        return block_pb.ResumeResponse()

    @answers
    def Mark(self, _: block_pb.MarkRequest, context: grpc.ServicerContext) -> Any:
        """Take no mark."""
        raise NotRecording(f"{self._disks.of_call(context).name} records no writes")

    @answers
    def ListFailures(self, _: block_pb.ListFailuresRequest, context: grpc.ServicerContext) -> Any:
        """Return none: faults are set here, and have no cause."""
        self._disks.of_call(context)
        return block_pb.ListFailuresResponse()

    @answers
    def GetStats(
        self, _request: block_pb.GetStatsRequest, context: grpc.ServicerContext
    ) -> block_pb.GetStatsResponse:
        """Return the counters."""
        disk = self._disks.of_call(context)
        return block_pb.GetStatsResponse(
            requests=[
                block_pb.RequestStats(type=kind, ok=count, bytes=disk.transferred[kind])
                for kind, count in disk.requests.items()
            ]
        )


class _Device(device_rpc.DeviceServiceServicer):
    """The calls that a kernel forwards: all but Attach, Detach and Reset."""

    def __init__(self, disks: Disks) -> None:
        self._disks = disks

    @answers
    def Describe(
        self, _request: device_pb.DescribeRequest, context: grpc.ServicerContext
    ) -> device_pb.DescribeResponse:
        """Describe a disk as a device."""
        disk = self._disks.of_call(context)
        return device_pb.DescribeResponse(
            name=disk.name,
            kind="blk",
            compatible="virtio,mmio",
            virtio_device_id=2,
            mmio_size_bytes=0x1000,
            queue_size_max=[256],
            services=["virtmesh.block.v1.BlockAdminService"],
        )

    @answers
    def GetStatus(
        self, _request: device_pb.GetStatusRequest, context: grpc.ServicerContext
    ) -> device_pb.GetStatusResponse:
        """Return the status of a device with an active driver."""
        self._disks.of_call(context)
        return device_pb.GetStatusResponse(
            attached=True,
            driver_name="fake kernel",
            device_status=15,
            device_status_names=["ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK"],
        )

    @answers
    def GetStats(
        self, _request: device_pb.GetStatsRequest, context: grpc.ServicerContext
    ) -> device_pb.GetStatsResponse:
        """Return the counters that the fake has."""
        disk = self._disks.of_call(context)
        return device_pb.GetStatsResponse(requests=disk.requests.total(), attaches=1)


class FakeKernel:
    """A kernel service on a unix socket of its own, with one disk for each `name=size` in bytes.

    `disks` has them by name: tests look at their data, and set their faults.

    Example:
        with FakeKernel(vda=1 << 20) as kernel, virtmesh_client.connect(kernel.address) as machine:
            machine.disk("vda").write(0, b"boot")
            assert kernel.disks["vda"].data[:4] == b"boot"
    """

    def __init__(self, *, name: str = "fake", **sizes: int) -> None:
        self.disks = Disks({name: FakeDisk(name, bytearray(size)) for name, size in sizes.items()})
        self._folder = tempfile.TemporaryDirectory(prefix="virtmesh-fake-")
        self.address = f"unix:{Path(self._folder.name) / 'kernel.sock'}"
        options = server_options((self.address,))
        self._server = grpc.server(ThreadPoolExecutor(CALLS_AT_ONCE), options=options)
        kernel_rpc.add_KernelServiceServicer_to_server(_Kernel(name, self.disks), self._server)  # type: ignore[abstract]
        disk_rpc.add_BlockDeviceServiceServicer_to_server(_BlockDevice(self.disks), self._server)
        block_rpc.add_BlockAdminServiceServicer_to_server(_BlockAdmin(self.disks), self._server)
        device_rpc.add_DeviceServiceServicer_to_server(_Device(self.disks), self._server)  # type: ignore[abstract]
        self._server.add_insecure_port(self.address)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop at once. Running calls fail."""
        self._server.stop(grace=None).wait()
        self._folder.cleanup()
