"""What the devices of a machine measure, gathered over the sockets of their services.

A device that does not answer in time, or answers what it may not, is left out of the page, which
says so: its values of before are not shown as if they were fresh.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog

from virtmesh.kernel.device import ProbeState
from virtmesh.scraping.answer import AnswerReader
from virtmesh.telemetry.definitions import counter, gauge
from virtmesh_common.api.metrics.v1 import metrics_pb2 as pb
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client import Metric

    from virtmesh.kernel.device import DevicesOfMachine, MachineDevice
    from virtmesh.kernel.device_channel import DeviceChannel
    from virtmesh.scraping.families import Family
    from virtmesh.scraping.page import Run

log = structlog.get_logger(__name__)

COLLECT = "/virtmesh.metrics.v1.MetricsService/Collect"
AT_ONCE, TURNS = 16, 3
"""Devices that are asked at once, and turns that there are at most: of more than 48, a third is
asked at once. Each has ANSWER_SECONDS from when it is asked, and 64 that answer at the same time
are not read within that on a busy host. If none answers, a page takes three seconds of its five."""
ANSWER_SECONDS = 1.0
"""How long a device may take to say what it measures, from when it is asked."""

UP = gauge(
    "virtmesh_machine_device_up",
    "1 if the device service said what it measures, for this page; 0 if the page lacks it.",
    "",
    "device",
)
FAILURES = counter(
    "virtmesh_machine_gathering_failures",
    "Times that a page lacks a device. `reason` is late (no answer in time), error (the call"
    " failed: nobody is there) or refused (the answer breaks the rules).",
    "pages",
    "device",
    "reason",
)
DURATION = gauge(
    "virtmesh_machine_gathering_duration_seconds",
    "Time that asking the devices took, for this page.",
    "seconds",
)
LATE, ERROR, REFUSED = REASONS = ("late", "error", "refused")


@dataclass
class Asked:
    """One device that is asked."""

    reader: AnswerReader
    up: bool = False
    """True if it answered, the last time."""
    failures: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(REASONS, 0)))


class Gathering:
    """Gathers from the devices of a machine; `channel` gives the channel to an endpoint."""

    def __init__(self, machine: DevicesOfMachine, channel: Callable[[str], DeviceChannel]) -> None:
        self._machine = machine
        self._channel = channel
        self._asked: dict[str, Asked] = {}
        self._seconds = 0.0

    async def gather(self, run: Run) -> Sequence[Family]:
        """Ask every device; return the families of those that answer as they should."""
        begun = monotonic()
        devices = self._machine.devices
        self._asked = {name: self._asked.get(name) or self._make(name) for name in devices}
        places = asyncio.Semaphore(max(AT_ONCE, -(-len(devices) // TURNS)))
        found = await asyncio.gather(*(self._ask(run, one, places) for one in devices.values()))
        self._seconds = monotonic() - begun
        return [family for families in found for family in families]

    def metrics(self) -> Iterable[Metric]:
        """Return how the last gathering went."""
        yield UP.of(((name,), one.up) for name, one in self._asked.items())
        yield FAILURES.of(
            ((name, reason), count)
            for name, one in self._asked.items()
            for reason, count in one.failures.items()
        )
        yield DURATION.one(self._seconds)

    def _make(self, name: str) -> Asked:
        """Return what is known of a device that was never asked."""
        return Asked(AnswerReader({"device": name, "machine": self._machine.machine.name}))

    async def _ask(
        self, run: Run, device: MachineDevice, places: asyncio.Semaphore
    ) -> Sequence[Family]:
        """Ask one device; nothing if it fails, which is counted."""
        name = device.node.name
        one = self._asked[name]
        families: Sequence[Family] = ()
        reason = ""
        try:
            async with places:
                async with time_limit(ANSWER_SECONDS):
                    answer = await self._call(device)
                families = await run(lambda: one.reader.read(answer))
        except TimeoutError:
            reason = LATE
        except grpc.aio.AioRpcError as error:
            reason = LATE if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else ERROR
        except ValueError as error:
            reason = REFUSED
            log.warning("what a device says it measures is refused", device=name, why=str(error))
        one.up = not reason
        if reason:
            one.failures[reason] += 1
        return families

    async def _call(self, device: MachineDevice) -> bytes:
        """Return the answer of a device, unread. Errors: AioRpcError.

        A device in use is there, even if the channel has not noticed yet that it is back.
        """
        call: Any = self._channel(device.node.endpoint).grpc.unary_unary(COLLECT)
        answer: bytes = await call(
            pb.CollectRequest().SerializeToString(),
            timeout=ANSWER_SECONDS,
            wait_for_ready=device.state is ProbeState.READY,
        )
        return answer
