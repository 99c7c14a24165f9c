"""What a device says of itself, as values: messages of virtmesh.input.v1 parsed."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from virtmesh_client.input.models import Axis, InputInfo, InputStats

if TYPE_CHECKING:
    from virtmesh_common.api.input.v1 import input_pb2


def to_info(response: input_pb2.GetInfoResponse) -> InputInfo:
    """Return the description of a device; IDs that are missing are 0."""
    bus, vendor, product, version = (*response.ids, 0, 0, 0, 0)[:4]
    return InputInfo(
        name=response.name,
        serial=response.serial,
        ids=(bus, vendor, product, version),
        personality=response.personality,
        properties=tuple(response.properties),
        capabilities={row.type: frozenset(row.codes) for row in response.capabilities},
        axes={
            axis.code: Axis(axis.minimum, axis.maximum, axis.fuzz, axis.flat, axis.resolution)
            for axis in response.axes
        },
        leds_on=tuple(response.leds_on),
        keys_held=tuple(response.keys_held),
    )


def to_stats(response: input_pb2.GetStatsResponse) -> InputStats:
    """Return the counters of a device."""
    names = [one.name for one in fields(InputStats)]
    return InputStats(**{field: getattr(response, field) for field in names})
