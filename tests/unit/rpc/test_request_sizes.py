"""How large requests may be: none that takes much more memory once it is parsed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from virtmesh.rpc.metrics import contract_services, known_methods
from virtmesh.rpc.request_sizes import LARGE, OF_STREAMS, largest_request
from virtmesh_common.channel import MESSAGE_LIMIT_BYTES

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

LARGEST_OF_PARTS = 256 << 10
"""Largest message that may have many parts, in bytes: parsed, it takes some MiB."""
REQUESTS = {
    f"/{service.full_name}/{method.name}": method.input_type
    for service in contract_services()
    for method in service.methods
}


def has_many_parts(message: Descriptor, seen: frozenset[str] = frozenset()) -> bool:
    """Say whether a message, or one in it, may have any number of some field."""
    if message.full_name in seen:
        return False
    inside = seen | {message.full_name}
    return any(
        field.is_repeated
        or (field.message_type is not None and has_many_parts(field.message_type, inside))
        for field in message.fields
    )


@pytest.mark.parametrize("method", sorted(REQUESTS))
def test_what_has_many_parts_is_small(method: str) -> None:
    """Bytes and texts take no more memory than they have on the wire; parts take 30 times that."""
    if has_many_parts(REQUESTS[method]):
        assert largest_request(method) <= LARGEST_OF_PARTS


def test_what_carries_data_may_be_large() -> None:
    """As large as gRPC takes it; each exception is a method that there is."""
    assert known_methods().keys() >= LARGE | OF_STREAMS.keys()
    assert {largest_request(method) for method in LARGE} == {MESSAGE_LIMIT_BYTES}
