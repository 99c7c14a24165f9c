"""What services say of a disk, as the library returns it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client.models import (
    DeviceCounters,
    DeviceStatus,
    DiskInfo,
    DiskStats,
    ImageInfo,
    RequestStats,
)

if TYPE_CHECKING:
    from virtmesh_common.api.block.v1 import block_pb2
    from virtmesh_common.api.device.v1 import device_pb2
    from virtmesh_common.api.kernel.v1 import block_device_pb2 as kernel_pb


def to_info(
    name: str, disk: kernel_pb.IdentifyResponse, image: block_pb2.GetInfoResponse
) -> DiskInfo:
    """Return the description of a disk: what its driver found, and what it says of its image."""
    return DiskInfo(
        name=name,
        capacity_bytes=disk.capacity_bytes,
        block_size_bytes=disk.block_size_bytes,
        read_only=disk.read_only or image.read_only,
        serial=disk.serial,
        write_back=disk.write_back,
        queues=disk.queues,
        request_size_max_bytes=disk.request_size_max_bytes,
        features=tuple(disk.features),
        image=ImageInfo(
            image.image_path,
            image.allocated_bytes,
            image.config_generation,
            image.on_error or "report",
            image.held_requests,
            image.image_trouble,
            image.write_log,
        ),
        poll_us=image.poll_us,
        bypasses_cache=image.cache == "none",
        engine=image.engine,
        engine_reason=image.engine_reason,
    )


def to_stats(disk: block_pb2.GetStatsResponse, device: device_pb2.GetStatsResponse) -> DiskStats:
    """Return the counters of a disk and of its device service."""
    return DiskStats(
        requests=tuple(
            RequestStats(
                type=row.type,
                ok=row.ok,
                io_errors=row.io_errors,
                unsupported=row.unsupported,
                bytes=row.bytes,
                busy_us=row.busy_us,
            )
            for row in disk.requests
        ),
        in_flight=disk.in_flight,
        malformed=disk.malformed,
        device=DeviceCounters(
            **{name: getattr(device, name) for name in DeviceCounters.__dataclass_fields__}
        ),
    )


def to_status(status: device_pb2.GetStatusResponse) -> DeviceStatus:
    """Return who drives a device, and in which state it is."""
    return DeviceStatus(
        attached=status.attached,
        driver_name=status.driver_name,
        device_status=status.device_status,
        device_status_names=tuple(status.device_status_names),
        fault=status.fault,
    )
