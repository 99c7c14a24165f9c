"""InputDeviceService: the events that the kernel's input drivers receive, for any client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtmesh.input.input_device import InputDevice
from virtmesh.kinds.service import until_back, wrong_kind
from virtmesh_common.api.kernel.v1 import input_device_pb2 as pb
from virtmesh_common.api.kernel.v1 import input_device_pb2_grpc
from virtmesh_common.errors import ShuttingDown
from virtmesh_common.retry import of_milliseconds

if TYPE_CHECKING:
    import grpc.aio

    from virtmesh.input.event_log import EventReader
    from virtmesh.kinds.service import FindDriver

SERVICE = "virtmesh.kernel.v1.InputDeviceService"


class InputDeviceService(input_device_pb2_grpc.InputDeviceServiceServicer):
    """Serves virtmesh.kernel.v1.InputDeviceService. `find` returns the driver of a device.

    A stream of events never ends by itself: `end_streams` ends them all, so that the server can
    stop.
    """

    name = SERVICE

    def __init__(self, find: FindDriver) -> None:
        self._find_driver = find
        self._readers: set[EventReader] = set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        input_device_pb2_grpc.add_InputDeviceServiceServicer_to_server(self, server)

    def end_streams(self) -> None:
        """End every stream."""
        # Not by cancelling: after a cancelled write gRPC can write nothing more, not even an error.
        for reader in self._readers:
            reader.stop(lambda: ShuttingDown("the kernel service is stopping"))

    async def Watch(  # type: ignore[override]  # the stubs know generators only
        self, request: pb.WatchRequest, context: Any
    ) -> None:
        """Stream events: each message has all that came since the last one."""
        retry_for = of_milliseconds(request.retry_for_ms)
        await until_back(self._find_driver.device(request.device), retry_for)
        reader = self._find(request.device).watch()
        reader.retry_for = retry_for
        self._readers.add(reader)
        try:
            await context.write(pb.WatchResponse(sequence=reader.sequence))
            while True:
                events, times_us = await reader.read()
                await context.write(
                    pb.WatchResponse(sequence=reader.sequence, events=events, times_us=times_us)
                )
        finally:
            self._readers.discard(reader)

    async def SetLed(self, request: pb.SetLedRequest, context: Any) -> pb.SetLedResponse:
        """Turn a light on or off."""
        await self._find(request.device).set_led(request.led, on=request.on)
        return pb.SetLedResponse()

    def _find(self, name: str) -> InputDevice:
        """Return an input device in use. Errors: DeviceNotFound; DeviceNotReady; WrongKind."""
        return as_input_device(name, self._find_driver(name))


def as_input_device(name: str, driver: object) -> InputDevice:
    """Return a driver that is one of an input device. Errors: WrongKind."""
    if not isinstance(driver, InputDevice):
        raise wrong_kind(name, driver, "input device")
    return driver
