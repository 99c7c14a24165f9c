"""FaultService: what a device does wrong because somebody ordered it (virtmesh.fault.v1).

What takes hold is native, where the device works (native/device/src/faults); this keeps what was
ordered, and tells the log. The faults live in this process and end with it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog
from virtmesh_native import Faults

from virtmesh.telemetry.definitions import counter, gauge
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.fault.v1 import fault_pb2 as pb
from virtmesh_common.api.fault.v1 import fault_pb2_grpc
from virtmesh_common.errors import BadValue
from virtmesh_common.fault.errors import FaultNotFound, TooManyFaults
from virtmesh_common.fault.message import decode_spec, encode_spec
from virtmesh_common.fault.spec import check_kind
from virtmesh_common.fault.words import KINDS, REQUEST_TYPES, TIMED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import grpc.aio
    from prometheus_client import Metric

    from virtmesh.mmio.device import Device
    from virtmesh_common.fault.spec import FaultSpec

    Row = tuple[int, int, int, int, str]
    """A fault as Faults.list returns it."""

log = structlog.get_logger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["FaultService"].full_name
LOOK_SECONDS = 1.0
"""How often the counts are looked at for the log, while there are faults."""
PAUSE_MIN = 0.001
"""Shortest time between two events that a fault makes itself, in seconds."""
ANSWER_SECONDS = 0.05
"""How long a fault without a delay waits, so that who orders it has the answer before it acts."""
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
SEED_BITS = 32
"""Size of a seed that is chosen here: short enough to be copied by hand."""

ORDERED = gauge("virtmesh_faults_ordered", "Faults on demand that are ordered now.", "faults")
INJECTED = counter(
    "virtmesh_faults_injected",
    "Events that faults on demand took, by kind, those of faults that were taken back included.",
    "events",
    "kind",
)


class FaultPlane(fault_pb2_grpc.FaultServiceServicer):
    """The faults of one device. `kinds` are the words of those that it can have."""

    def __init__(self, device: Device, kinds: Collection[str]) -> None:
        self._device = device
        self._kinds = kinds
        self._faults = device.interrupt.faults
        self._specs: dict[int, FaultSpec] = {}
        self._ended: Counter[str] = Counter()
        """Events that those took that are taken back, by kind."""
        self._told: dict[int, int] = {}
        """Events that each had taken when the log was told last."""
        self._acts: dict[int, asyncio.Task[None]] = {}
        """Those that make their events themselves, by number."""
        self._watching: asyncio.Task[None] | None = None

    def add(self, spec: FaultSpec) -> pb.Fault:
        """Order a fault. Errors: BadValue; TooManyFaults."""
        name = self._device.description.name
        try:
            check_kind(spec, self._kinds, name)
        except ValueError as error:
            raise BadValue(str(error)) from None
        if spec.queue is not None and spec.queue >= len(self._device.description.queue_size_max):
            raise BadValue(f"{name} has no queue {spec.queue}")
        delay = spec.delay
        seed = secrets.randbits(SEED_BITS) if spec.seed is None else spec.seed
        number = self._faults.add(
            KINDS[spec.kind],
            seed=seed,
            queue=spec.queue,
            types=sum(1 << REQUEST_TYPES[word] for word in spec.types),
            sectors=spec.sectors,
            after=spec.after,
            every=spec.every,
            probability=spec.probability,
            limit=spec.limit,
            delay=(delay.low, delay.high, delay.mean) if delay else None,
            size=spec.size,
        )
        if number is None:
            raise TooManyFaults(
                f"{name} has {Faults.MAX} faults, the most it can have: take some back"
                " (`virtmesh fault clear`)"
            )
        self._specs[number] = replace(spec, seed=seed)
        log.warning("a fault is ordered", fault=number, what=str(self._specs[number]))
        if spec.kind in TIMED:
            self._acts[number] = asyncio.get_running_loop().create_task(self._act(number, spec))
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        return self._list()[number]

    def metrics(self) -> Iterable[Metric]:
        """Return how many faults there are, and what they did."""
        yield ORDERED.one(len(self._specs))
        counts = Counter(self._ended)
        for row in self._faults.list():
            counts[self._specs[row[0]].kind] += row[2]
        yield INJECTED.of(((kind,), count) for kind, count in sorted(counts.items()))

    def close(self) -> None:
        """End what goes on by itself."""
        for task in (*self._acts.values(), self._watching):
            if task is not None:
                task.cancel()

    async def Add(
        self, request: pb.AddRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.AddResponse:
        """Order a fault."""
        return pb.AddResponse(fault=self.add(decode_spec(request.spec)))

    async def List(
        self, request: pb.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListResponse:
        """Return the faults."""
        return pb.ListResponse(faults=self._list().values())

    async def Clear(
        self, request: pb.ClearRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ClearResponse:
        """Take faults back."""
        numbers = list(dict.fromkeys(request.ids)) or list(self._specs)
        if missing := [one for one in numbers if one not in self._specs]:
            raise FaultNotFound(
                f"{self._device.description.name} has no fault {missing[0]}", fault=missing[0]
            )
        ended = []
        for number in numbers:
            row = self._faults.remove(number)
            spec = self._specs.pop(number)
            self._told.pop(number, None)
            if act := self._acts.pop(number, None):
                act.cancel()
            if row is not None:  # It is there: nobody else takes faults back.
                ended.append(_spell(row, spec))
                self._ended[spec.kind] += row[2]
            log.warning("a fault is taken back", fault=number, what=str(spec))
        if isinstance(self._device, VirtioMmio):
            for index in range(len(self._device.description.queue_size_max)):
                self._device.model.kick(index)  # It may have been stuck.
        return pb.ClearResponse(faults=ended)

    async def _act(self, number: int, spec: FaultSpec) -> None:
        """Make the events of a fault that makes them itself, and do what it does."""
        while (pause := self._faults.pause(number)) is not None:
            await asyncio.sleep(max(pause, PAUSE_MIN) if spec.delay else ANSWER_SECONDS)
            if self._device.interrupt.offer_fault(number):
                self._do(number, spec)
            if spec.delay is None:
                return

    def _do(self, number: int, spec: FaultSpec) -> None:
        """Do what a fault does that makes its events itself."""
        interrupt = self._device.interrupt
        match spec.kind:
            case "spurious-interrupt":
                interrupt.raise_used(spec.queue or 0)
            case "config-change":
                interrupt.raise_config()
            case "needs-reset":
                interrupt.set_fault(f"fault {number} on demand: {spec}")
            case "kill" | "stop":
                log.warning("a fault takes hold of the process", fault=number, what=str(spec))
                sys.stderr.flush()
                os.kill(os.getpid(), SIGNALS[spec.kind])

    def _list(self) -> Mapping[int, pb.Fault]:
        """Return the faults by their numbers."""
        return {row[0]: _spell(row, self._specs[row[0]]) for row in self._faults.list()}

    async def _watch(self) -> None:
        """Tell the log what faults did, while there are any."""
        while self._specs:
            await asyncio.sleep(LOOK_SECONDS)
            for number, _, hits, held, last in self._faults.list():
                if more := hits - self._told.get(number, 0):
                    self._told[number] = hits
                    log.warning(
                        "a fault took hold",
                        fault=number,
                        what=str(self._specs[number]),
                        events=more,
                        held=held,
                        last=last,
                    )
        self._watching = None


def _spell(row: Row, spec: FaultSpec) -> pb.Fault:
    """Make the message of a fault."""
    number, seen, hits, held, last = row
    return pb.Fault(id=number, spec=encode_spec(spec), seen=seen, hits=hits, held=held, last=last)
