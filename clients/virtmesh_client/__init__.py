"""The client of virtmesh: use the devices of a machine from a script, on any host.

    import virtmesh_client

    with virtmesh_client.connect("unix:/run/user/1000/virtmesh/demo/kernel.sock") as machine:
        disk = machine.disk("vda")
        disk.import_from("disk.img")
        print(disk.read(offset=1024, length=16).hex())

`connect` gives the blocking face and `aconnect` the asyncio face of the same thing. Errors are the
classes of `virtmesh.errors`; a copy that fails says in the error's `metadata` and notes how far it
came.
"""

from virtmesh import __version__, errors
from virtmesh_client.address import find_address
from virtmesh_client.aio import AsyncDisk, AsyncMachine, aconnect
from virtmesh_client.disk import Disk
from virtmesh_client.input import (
    Event,
    Injected,
    Input,
    InputInfo,
    InputStats,
    Played,
    Received,
    Recording,
    load_recording,
    save_recording,
)
from virtmesh_client.input.aio import AsyncInput
from virtmesh_client.machine import Machine, connect
from virtmesh_client.models import (
    CopyResult,
    DeviceCounters,
    DeviceInfo,
    DeviceStatus,
    DiskInfo,
    DiskStats,
    ImageInfo,
    RequestStats,
)

__all__ = [
    "AsyncDisk",
    "AsyncInput",
    "AsyncMachine",
    "CopyResult",
    "DeviceCounters",
    "DeviceInfo",
    "DeviceStatus",
    "Disk",
    "DiskInfo",
    "DiskStats",
    "Event",
    "ImageInfo",
    "Injected",
    "Input",
    "InputInfo",
    "InputStats",
    "Machine",
    "Played",
    "Received",
    "Recording",
    "RequestStats",
    "__version__",
    "aconnect",
    "connect",
    "errors",
    "find_address",
    "load_recording",
    "save_recording",
]
