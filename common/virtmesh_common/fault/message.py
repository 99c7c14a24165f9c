"""Faults as messages of virtmesh.fault.v1, and back."""

from __future__ import annotations

import math

from virtmesh_common.api.fault.v1 import fault_pb2 as pb
from virtmesh_common.errors import BadValue
from virtmesh_common.fault.spec import QUEUE_MAX, FaultSpec
from virtmesh_common.fault.words import KIND_WORDS, KINDS, REQUEST_TYPES, TYPE_WORDS


def encode_spec(spec: FaultSpec) -> pb.Spec:
    """Make the message of a fault."""
    message = pb.Spec(
        kind=pb.FaultKind.ValueType(KINDS[spec.kind]),
        request_types=[REQUEST_TYPES[word] for word in spec.types],
        after=spec.after,
        every=spec.every,
        probability=spec.probability,
        limit=spec.limit,
        queue=spec.queue,
        seed=spec.seed,
    )
    if spec.sectors is not None:
        message.sectors.first, message.sectors.last = spec.sectors
    return message


def decode_spec(message: pb.Spec) -> FaultSpec:
    """Read a message of a stranger. Errors: BadValue."""
    kind = KIND_WORDS.get(message.kind)
    if kind is None:
        known = ", ".join(KINDS)
        raise BadValue(f"{message.kind} is no kind of fault: this service knows {known}")
    unknown = [str(one) for one in message.request_types if one not in TYPE_WORDS]
    if unknown:
        known = ", ".join(map(str, TYPE_WORDS))
        raise BadValue(f"no request has the type {unknown[0]}: the types are {known}")
    sectors = None
    if message.HasField("sectors"):
        sectors = message.sectors.first, message.sectors.last
        if sectors[1] < sectors[0]:
            raise BadValue(f"the last sector, {sectors[1]}, is before the first, {sectors[0]}")
    queue = message.queue if message.HasField("queue") else None
    if queue is not None and queue > QUEUE_MAX:
        raise BadValue(f"no device has a queue {queue}: the highest is {QUEUE_MAX}")
    chance = message.probability if message.HasField("probability") else 1.0
    if not (math.isfinite(chance) and 0 < chance <= 1):
        raise BadValue(f"the probability {chance} is not above 0 and at most 1")
    return FaultSpec(
        kind,
        types=tuple(dict.fromkeys(TYPE_WORDS[one] for one in message.request_types)),
        sectors=sectors,
        queue=queue,
        after=message.after,
        every=message.every or 1,
        probability=chance,
        limit=message.limit,
        seed=message.seed if message.HasField("seed") else None,
    )
