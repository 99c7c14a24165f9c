"""Requests as they come: parsed, or why not. gRPC would say INTERNAL of those."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from virtmesh_common.errors import BadRequest, MessageTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_common.errors import VirtmeshError


@dataclass(frozen=True)
class Malformed:
    """Stands for a request that does not parse, or that is too large."""

    why: str = ""
    largest: int = 0
    """How large it may be, in bytes, if it is larger."""

    def error(self, method: str) -> VirtmeshError:
        """Return what the client is told."""
        if self.largest:
            return MessageTooLarge(f"a request of {method} has {self.largest} bytes at most")
        return BadRequest(f"a request of {method} does not parse: {self.why}")


def tolerant(parse: Callable[[bytes], Any] | None, largest: int) -> Callable[[bytes], Any]:
    """Return a parser that gives a Malformed for what is no message of the method."""

    def take(data: bytes) -> Any:
        if len(data) > largest:
            return Malformed(largest=largest)
        if parse is None:
            return data
        try:
            return parse(data)
        except DecodeError as error:
            return Malformed(str(error))

    return take
