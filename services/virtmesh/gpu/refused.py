"""A command that the device does not carry out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtmesh_common.gpu.spec import Response


class Refused(Exception):
    """A command that is answered with an error. `rule` names what the driver broke, if it did."""

    def __init__(self, response: Response, reason: str, rule: str = "") -> None:
        super().__init__(reason)
        self.response = response
        self.reason = reason
        self.rule = rule
