"""FaultService: what a device does wrong because somebody ordered it (virtmesh.fault.v1).

What takes hold is native, where the device works (native/device/src/faults); this keeps what was
ordered, and tells the log. The faults live in this process and end with it.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog
from virtmesh_native import Faults

from virtmesh.telemetry.definitions import counter, gauge
from virtmesh_common.api.fault.v1 import fault_pb2 as pb
from virtmesh_common.api.fault.v1 import fault_pb2_grpc
from virtmesh_common.errors import BadValue
from virtmesh_common.fault.errors import FaultNotFound, TooManyFaults
from virtmesh_common.fault.message import decode_spec, encode_spec
from virtmesh_common.fault.spec import check_kind
from virtmesh_common.fault.words import KINDS, REQUEST_TYPES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import grpc.aio
    from prometheus_client import Metric

    from virtmesh.mmio.device import Device
    from virtmesh_common.fault.spec import FaultSpec

log = structlog.get_logger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["FaultService"].full_name
LOOK_SECONDS = 1.0
"""How often the counts are looked at for the log, while there are faults."""
SEED_BITS = 32
"""Size of a seed that is chosen here: short enough to be copied by hand."""

ORDERED = gauge("virtmesh_faults_ordered", "Faults on demand that are ordered now.", "faults")
INJECTED = counter(
    "virtmesh_faults_injected",
    "Events that faults on demand took, those of faults that were taken back included.",
    "events",
)


class FaultPlane(fault_pb2_grpc.FaultServiceServicer):
    """The faults of one device. `kinds` are the words of those that it can have."""

    def __init__(self, device: Device, kinds: Collection[str]) -> None:
        self._device = device
        self._kinds = kinds
        self._faults = device.interrupt.faults
        self._specs: dict[int, FaultSpec] = {}
        self._told: dict[int, int] = {}
        """Events that each had taken when the log was told last."""
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
        )
        if number is None:
            raise TooManyFaults(
                f"{name} has {Faults.MAX} faults, the most it can have: take some back"
                " (`virtmesh fault clear`)"
            )
        self._specs[number] = replace(spec, seed=seed)
        log.warning("a fault is ordered", fault=number, what=str(self._specs[number]))
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        return self._list()[number]

    def metrics(self) -> Iterable[Metric]:
        """Return how many faults there are, and what they did."""
        yield ORDERED.one(len(self._specs))
        yield INJECTED.one(self._faults.taken)

    def close(self) -> None:
        """Stop telling the log."""
        if self._watching is not None:
            self._watching.cancel()

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
            seen, hits = self._faults.remove(number) or (0, 0)
            spec = self._specs.pop(number)
            self._told.pop(number, None)
            ended.append(_spell(number, spec, seen, hits))
            log.warning("a fault is taken back", fault=number, what=str(spec), hits=hits)
        return pb.ClearResponse(faults=ended)

    def _list(self) -> Mapping[int, pb.Fault]:
        """Return the faults by their numbers."""
        return {
            number: _spell(number, self._specs[number], seen, hits)
            for number, seen, hits in self._faults.list()
        }

    async def _watch(self) -> None:
        """Tell the log what faults did, while there are any."""
        while self._specs:
            await asyncio.sleep(LOOK_SECONDS)
            for number, _, hits in self._faults.list():
                if more := hits - self._told.get(number, 0):
                    self._told[number] = hits
                    what = str(self._specs[number])
                    log.warning("a fault took hold", fault=number, what=what, events=more)
        self._watching = None


def _spell(number: int, spec: FaultSpec, seen: int, hits: int) -> pb.Fault:
    """Make the message of a fault."""
    return pb.Fault(id=number, spec=encode_spec(spec), seen=seen, hits=hits)
