"""Injecting through the kernel service: streams outlive the process of their device."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from virtmesh.input.driver import VirtIOInput
from virtmesh.input.lasting import LastingInput
from virtmesh.kinds.relay import Relay
from virtmesh_common.api.input.v1 import input_pb2 as pb

if TYPE_CHECKING:
    from virtmesh.drivers.base import Driver
    from virtmesh.kinds.relay import Serve

SERVICE = "/virtmesh.input.v1.InputService/"
INJECT, STATS, RELEASE = f"{SERVICE}Inject", f"{SERVICE}GetStats", f"{SERVICE}ReleaseAll"


class InputRelay(Relay):
    """The input devices of a kernel."""

    methods = {  # noqa: RUF012 - constant
        INJECT: pb.InjectRequest,
        STATS: pb.GetStatsRequest,
        RELEASE: pb.ReleaseAllRequest,
    }

    def make(self, name: str, driver: Driver) -> LastingInput | None:
        """Make a device."""
        if not isinstance(driver, VirtIOInput):
            return None
        return LastingInput(name, self._device(name), partial(self._upstream, name))

    def serve(self, device: LastingInput, method: str) -> Serve:
        """Return what serves a call."""
        return {INJECT: device.inject, STATS: device.stats, RELEASE: device.release_all}[method]
