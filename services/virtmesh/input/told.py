"""What an input device says of itself, for who checks packets on its behalf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.input.personality import AbsRange, Personality

if TYPE_CHECKING:
    from virtmesh_common.api.input.v1 import input_pb2 as pb

WAITING_MAX = 1 << 16
"""Most packets that a waiting room is taken to have."""
CODE_MAX = 0xFFFF
"""Largest type or code of an event: 16 bits."""


class Told:
    """A device, from its answer to GetInfo. What is no type or code of an event is left out."""

    def __init__(self, info: pb.GetInfoResponse) -> None:
        ids = (*info.ids, 0, 0, 0, 0)
        self.waiting_max = min(max(info.waiting_max, 1), WAITING_MAX)
        self.personality = Personality(
            kind=info.personality,
            name=info.name,
            ids=(ids[0], ids[1], ids[2], ids[3]),
            properties=tuple(info.properties),
            codes={
                one.type: tuple(code for code in one.codes if code <= CODE_MAX)
                for one in info.capabilities
                if one.type <= CODE_MAX
            },
            axes={
                one.code: AbsRange(one.minimum, one.maximum, one.fuzz, one.flat, one.resolution)
                for one in info.axes
            },
        )

    def is_same(self, other: Told) -> bool:
        """Say whether packets for this device are packets for another one."""
        mine, its = self.personality, other.personality
        return mine.codes == its.codes and mine.axes == its.axes
