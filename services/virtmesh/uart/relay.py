"""Serial lines through the kernel service: streams outlive the process of their port."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from virtmesh.kinds.relay import Relay
from virtmesh.uart.driver.driver import NS16550a
from virtmesh.uart.lasting import LastingPort
from virtmesh_common.api.uart.v1 import uart_pb2 as pb

if TYPE_CHECKING:
    from virtmesh.drivers.base import Driver
    from virtmesh.kinds.relay import Serve

SERVICE = "/virtmesh.uart.v1.UartService/"
OPEN, STATS = f"{SERVICE}Open", f"{SERVICE}GetStats"


class UartRelay(Relay):
    """The serial ports of a kernel."""

    methods = {  # noqa: RUF012 - constant
        OPEN: pb.OpenRequest,
        STATS: pb.GetStatsRequest,
        f"{SERVICE}GetInfo": pb.GetInfoRequest,
        f"{SERVICE}Write": pb.WriteRequest,
        f"{SERVICE}SetLines": pb.SetLinesRequest,
    }

    def make(self, name: str, driver: Driver) -> LastingPort | None:
        """Make a port."""
        if not isinstance(driver, NS16550a):
            return None
        return LastingPort(name, self._device(name), partial(self._upstream, name))

    def serve(self, device: LastingPort, method: str) -> Serve | None:
        """Return what serves a call; None before the first process is reached."""
        if not device.is_known:
            return None
        if method in {OPEN, STATS}:
            return {OPEN: device.open, STATS: device.stats}[method]
        return partial(device.unary, method.removeprefix(SERVICE))
