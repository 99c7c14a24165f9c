"""Faults as messages of virtmesh.fault.v1, and back."""

from __future__ import annotations

import math

from virtmesh_common.api.fault.v1 import fault_pb2 as pb
from virtmesh_common.errors import BadValue
from virtmesh_common.fault.spec import FaultSpec
from virtmesh_common.fault.values import QUEUE_MAX, Delay
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
        bytes=spec.size,
    )
    if spec.sectors is not None:
        message.sectors.first, message.sectors.last = spec.sectors
    if (delay := spec.delay) is not None:
        message.delay.CopyFrom(pb.Delay(low_us=delay.low, high_us=delay.high, mean_us=delay.mean))
    return message


def decode_spec(message: pb.Spec) -> FaultSpec:
    """Read a message of a stranger. Errors: BadValue."""
    try:
        return _decode(message)
    except ValueError as error:
        raise BadValue(str(error)) from None


def _decode(message: pb.Spec) -> FaultSpec:
    """Read a message. Errors: ValueError."""
    kind = KIND_WORDS.get(message.kind)
    if kind is None:
        known = ", ".join(KINDS)
        raise ValueError(f"{message.kind} is no kind of fault: this service knows {known}")
    unknown = [str(one) for one in message.request_types if one not in TYPE_WORDS]
    if unknown:
        known = ", ".join(map(str, TYPE_WORDS))
        raise ValueError(f"no request has the type {unknown[0]}: the types are {known}")
    sectors = None
    if message.HasField("sectors"):
        sectors = message.sectors.first, message.sectors.last
        if sectors[1] < sectors[0]:
            raise ValueError(f"the last sector, {sectors[1]}, is before the first, {sectors[0]}")
    queue = message.queue if message.HasField("queue") else None
    if queue is not None and queue > QUEUE_MAX:
        raise ValueError(f"no device has a queue {queue}: the highest is {QUEUE_MAX}")
    chance = message.probability if message.HasField("probability") else 1.0
    if not (math.isfinite(chance) and 0 < chance <= 1):
        raise ValueError(f"the probability {chance} is not above 0 and at most 1")
    delay = None
    if message.HasField("delay"):
        delay = Delay(message.delay.low_us, message.delay.high_us, message.delay.mean_us)
    return FaultSpec(
        kind,
        types=tuple(dict.fromkeys(TYPE_WORDS[one] for one in message.request_types)),
        sectors=sectors,
        queue=queue,
        after=message.after,
        every=message.every or 1,
        probability=chance,
        limit=message.limit,
        delay=delay,
        size=message.bytes if message.HasField("bytes") else None,
        seed=message.seed if message.HasField("seed") else None,
    )
