"""What the methods of a disk are made of: calls to its kernel service, and to its own."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, TypeVar

from virtmesh_client.channel import ANSWER_SECONDS
from virtmesh_common.api.block.v1 import block_pb2, block_pb2_grpc
from virtmesh_common.api.device.v1 import device_pb2_grpc
from virtmesh_common.api.kernel.v1 import block_device_pb2 as kernel_pb
from virtmesh_common.api.kernel.v1 import block_device_pb2_grpc as kernel_rpc
from virtmesh_common.blk.errors import BlockReadOnly, PastEnd
from virtmesh_common.errors import DeviceLost, DeviceNotReady
from virtmesh_common.retry import to_retry_ms

if TYPE_CHECKING:
    from grpc import UnaryUnaryMultiCallable

    from virtmesh_client.channel import KernelChannel

Response = TypeVar("Response")

CONFIG_SECONDS = 5.0
"""How long a driver may take to see a new capacity; another resize may come between."""
CONFIG_POLL_SECONDS = 0.005
RETRY_POLL_SECONDS = 0.05


class DiskCalls:
    """A disk by its name."""

    def __init__(self, channel: KernelChannel, name: str) -> None:
        self.name = name
        self._channel = channel
        self._kernel = kernel_rpc.BlockDeviceServiceStub(channel.grpc)
        self._admin = block_pb2_grpc.BlockAdminServiceStub(channel.grpc)
        self._device = device_pb2_grpc.DeviceServiceStub(channel.grpc)

    def _retry_ms(self, retry_for: float | None) -> int:
        """Return how long the kernel waits for a call. Errors: ValueError."""
        return to_retry_ms(self._channel.patience(retry_for))

    def _ask(
        self,
        method: UnaryUnaryMultiCallable[Any, Response],
        request: Any,
        seconds: float,
        retry_for: float | None,
    ) -> Response:
        """Call the kernel, which takes so many seconds beside the time that it waits."""
        limit = seconds + self._channel.patience(retry_for)
        return self._channel.ask(method, request, limit=limit, retry_for=retry_for)

    def _identify(self, retry_for: float | None) -> kernel_pb.IdentifyResponse:
        """Ask the kernel for the disk, and wait so long for it."""
        request = kernel_pb.IdentifyRequest(
            device=self.name, retry_for_ms=self._retry_ms(retry_for)
        )
        return self._ask(self._kernel.Identify, request, ANSWER_SECONDS, retry_for)

    def _ask_image(self, retry_for: float | None) -> block_pb2.GetInfoResponse:
        """Ask the disk itself for its image, and wait so long for it."""
        deadline = time.monotonic() + self._channel.patience(retry_for)
        request = block_pb2.GetInfoRequest()
        while True:
            try:
                return self._channel.ask(
                    self._admin.GetInfo, request, self.name, retry_for=retry_for
                )
            except DeviceLost:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(RETRY_POLL_SECONDS)

    def _await_capacity(self, capacity: int) -> None:
        """Wait until the driver has handled the configuration change, if there is a driver."""
        deadline = time.monotonic() + CONFIG_SECONDS
        with contextlib.suppress(DeviceNotReady, DeviceLost):
            while self._identify(0).capacity_bytes != capacity and time.monotonic() < deadline:
                time.sleep(CONFIG_POLL_SECONDS)

    def _rest(self, offset: int, retry_for: float | None) -> int:
        """Return the bytes from `offset` to the end. Errors: PastEnd."""
        capacity = self._identify(retry_for).capacity_bytes
        if offset > capacity:
            raise PastEnd(f"{self.name} ends at byte {capacity}: offset {offset} is past its end")
        return capacity - offset

    def _check_room(self, offset: int, size: int, retry_for: float | None) -> None:
        """Refuse now what the disk would refuse later. Errors: PastEnd, BlockReadOnly."""
        disk = self._identify(retry_for)
        image = self._ask_image(retry_for)
        if disk.read_only or image.read_only:
            raise BlockReadOnly(f"{self.name} is read-only: nothing was written")
        if offset + size > disk.capacity_bytes:
            raise PastEnd(
                f"{size} bytes at offset {offset} do not fit: {self.name} ends at byte"
                f" {disk.capacity_bytes}; nothing was written;"
                f" resize it to at least {offset + size} first"
            )
