"""The client of virtmesh: use the devices of a machine from a script, on any host.

    import virtmesh_client

    with virtmesh_client.connect("unix:/run/user/1000/virtmesh/demo/kernel.sock") as machine:
        disk = machine.disk("vda")
        disk.import_from("disk.img")
        print(disk.read(offset=1024, length=16).hex())

`connect` returns a machine with blocking calls, `aconnect` one with asyncio calls. Errors are the
classes of `virtmesh_common.errors`. The error of a failed copy says in its `metadata` and its notes
how many bytes were copied.
"""

from virtmesh_client.address import find_address
from virtmesh_client.async_machine import AsyncMachine, aconnect
from virtmesh_client.blk.aio import AsyncDisk
from virtmesh_client.blk.disk import Disk
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
    NodeInfo,
    RequestStats,
)
from virtmesh_client.serial import (
    OLDEST,
    Match,
    Position,
    Sent,
    Serial,
    SerialInfo,
    SerialStats,
)
from virtmesh_client.serial.aio import AsyncSerial
from virtmesh_common import __version__, errors

__all__ = [
    "OLDEST",
    "AsyncDisk",
    "AsyncInput",
    "AsyncMachine",
    "AsyncSerial",
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
    "Match",
    "NodeInfo",
    "Played",
    "Position",
    "Received",
    "Recording",
    "RequestStats",
    "Sent",
    "Serial",
    "SerialInfo",
    "SerialStats",
    "__version__",
    "aconnect",
    "connect",
    "errors",
    "find_address",
    "load_recording",
    "save_recording",
]
