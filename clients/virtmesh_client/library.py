"""All that a script uses of the client: what `import virtmesh_client` offers."""

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
    DeviceDescription,
    DeviceInfo,
    DeviceStatus,
    DiskInfo,
    DiskStats,
    ImageInfo,
    NodeInfo,
    RequestStats,
)
from virtmesh_client.screen.aio import AsyncScreen
from virtmesh_client.screen.screen import Screen
from virtmesh_client.screen.update import Picture
from virtmesh_client.security.credentials import Credentials
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
    "AsyncScreen",
    "AsyncSerial",
    "CopyResult",
    "Credentials",
    "DeviceCounters",
    "DeviceDescription",
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
    "Picture",
    "Played",
    "Position",
    "Received",
    "Recording",
    "RequestStats",
    "Screen",
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
