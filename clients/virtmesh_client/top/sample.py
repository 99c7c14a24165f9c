"""Samples of a machine: what the kernel service and each device count, read one by one.

Latencies are those of requests in the driver's flight recorder, from `add` to `pop_used`: whatever
the address, and whether or not /metrics can be reached. A guest keeps no recorder: the device that
it drives says how long it had them, from `pop` to `push`. Of a busy device they are a sample of the
latest requests, not all.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from virtmesh_client.interface import Interface, read_interface
from virtmesh_client.trace.events import read_page, read_source
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.api.trace.v1.trace_pb2_grpc import TraceServiceStub
from virtmesh_common.errors import DeviceLost, ServiceUnavailable, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_client.machine import Machine
    from virtmesh_client.models import DeviceInfo
    from virtmesh_client.trace.events import Event
    from virtmesh_common.interface import FigureInfo

EVENTS_MAX = 4096
"""Most events of a recorder that are looked at for one sample."""
OPEN_MAX = 4096
"""Most requests whose beginning is remembered between samples."""

COUNTERS = tuple(
    one.name for one in device_pb2.GetStatsResponse.DESCRIPTOR.fields if one.name != "figures"
)
"""Counters that every device has."""
DRIVER_SIDE = ("add", "pop_used")
DEVICE_SIDE = ("pop", "push")
"""What a request begins and ends with on each side."""
BREAKS = frozenset({"attach", "detach", "reset", "lost"})
"""What ends all requests, or hides their ends."""


@dataclass(frozen=True)
class DeviceSample:
    """One device at one time. Counters count since its service started."""

    info: DeviceInfo
    time: float
    """When its counters were read, in seconds of a steady clock: devices are asked one by one."""
    status: tuple[str, ...] = ()
    """Names of the bits of its device status."""
    fault: str = ""
    counters: dict[str, int] = field(default_factory=dict)
    """Counters that every device has (GetStatsResponse)."""
    kind: str = ""
    figures: tuple[FigureInfo, ...] = ()
    """What its kind has to show."""
    own: dict[str, float] = field(default_factory=dict)
    """The values of those, by label."""
    latencies_ns: tuple[int, ...] = ()
    """Ascending, of the latest requests since the sample before."""
    gone: str = ""
    """Why the device did not answer; empty when it did."""


@dataclass(frozen=True)
class Sample:
    """A machine, from one device to the next."""

    time: float
    """When it began to be read, in seconds of a steady clock."""
    machine: str = ""
    devices: tuple[DeviceSample, ...] = ()
    gone: str = ""
    """Why the machine did not answer; empty when it did."""


class Sampler:
    """Takes samples of a machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._channel = machine.channel
        self._control = DeviceServiceStub(self._channel.grpc)
        self._latencies: dict[str, Latencies] = {}
        self._interfaces: dict[str, Interface] = {}

    def take(self) -> Sample:
        """Take a sample. A machine or device that does not answer is part of the sample."""
        now = time.monotonic()
        try:
            name = self._machine.name
            devices = tuple(map(self._device, self._machine.devices()))
        except VirtmeshError as error:
            return Sample(now, gone=error.message)
        return Sample(now, name, devices)

    def _device(self, info: DeviceInfo) -> DeviceSample:
        """Take a sample of a device."""
        try:
            ask = self._channel.ask
            status = ask(self._control.GetStatus, device_pb2.GetStatusRequest(), info.name)
            stats = ask(self._control.GetStats, device_pb2.GetStatsRequest(), info.name)
            now = time.monotonic()
            interface = self._interface(info.name)
            latencies = self._read(info) if interface.request_types else ()
        except VirtmeshError as error:
            self._interfaces.pop(info.name, None)  # what comes back can be another version
            return DeviceSample(info, time.monotonic(), gone=error.message)
        return DeviceSample(
            info,
            now,
            status=tuple(status.device_status_names),
            fault=status.fault,
            counters={name: getattr(stats, name) for name in COUNTERS},
            kind=interface.kind,
            figures=interface.figures,
            own=values_of(interface, stats),
            latencies_ns=latencies,
        )

    def _interface(self, device: str) -> Interface:
        """Return how a device describes itself; of one that does not, nothing.

        Errors: DeviceLost, ServiceUnavailable.
        """
        if device not in self._interfaces:
            try:
                self._interfaces[device] = read_interface(self._channel, device)
            except (DeviceLost, ServiceUnavailable):
                raise
            except VirtmeshError:
                self._interfaces[device] = Interface()  # too old, or not to be trusted
        return self._interfaces[device]

    def _read(self, info: DeviceInfo) -> tuple[int, ...]:
        """Read the latest events of a recorder: the driver's, or of a guest's device its own."""
        side = DEVICE_SIDE if info.state == "reserved" else DRIVER_SIDE
        latencies = self._latencies.setdefault(info.name, Latencies(*side))
        stub = TraceServiceStub(self._channel.grpc)
        ask = partial(self._channel.ask, stub.Read, device=info.name if side is DEVICE_SIDE else "")
        request = trace_pb2.ReadRequest(device=info.name, limit=1)
        request.from_sequence = latencies.begin(ask(request).position.next_sequence)
        request.limit = EVENTS_MAX
        response = ask(request)
        latencies.following = response.page.next_sequence
        return latencies.of(read_page(read_source(response.source), response.page))


class Latencies:
    """Measures requests on one side, from one kind of event to another."""

    def __init__(self, first: str = "add", last: str = "pop_used") -> None:
        self._first, self._last = first, last
        self.following = 0
        """Number of the next event that is of interest."""
        self._open: OrderedDict[tuple[int, int], int] = OrderedDict()

    def begin(self, end: int) -> int:
        """Return the number of the first event to read of a recorder that stands at `end`.

        When events are left out, what was in flight can have ended among them: it is forgotten, or
        a later chain of the same token would seem to have begun with it.
        """
        latest = max(end - EVENTS_MAX, 0)
        if latest <= self.following <= end:
            return self.following
        self._open.clear()  # too many events, or the kernel service was restarted
        return latest

    def of(self, events: Iterable[Event]) -> tuple[int, ...]:
        """Return the latencies of requests that ended, ascending, in ns."""
        found = []
        for event in events:
            key = (event.queue, event.token)
            if event.kind == self._first:
                self._open[key] = event.time_ns
                if len(self._open) > OPEN_MAX:
                    self._open.popitem(last=False)
            elif event.kind == self._last:
                added = self._open.pop(key, None)
                if added is not None:
                    found.append(event.time_ns - added)
            elif event.kind in BREAKS:
                self._open.clear()
        return tuple(sorted(found))


def values_of(interface: Interface, stats: device_pb2.GetStatsResponse) -> dict[str, float]:
    """Return the values of figures, by label; those that are no numbers are left out."""
    known = {one.label for one in interface.figures}
    return {
        one.label: one.value
        for one in stats.figures
        if one.label in known and math.isfinite(one.value)
    }
