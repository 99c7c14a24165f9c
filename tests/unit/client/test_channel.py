"""What the calls of a client carry."""

from __future__ import annotations

import pytest

from virtmesh_client.channel import KernelChannel
from virtmesh_common.request_id import REQUEST_ID_KEY

ADDRESS = "unix:/nobody/is/here.sock"


def test_the_calls_of_one_connection_have_one_identifier() -> None:
    """What a script does is found in the logs under one name, which no other connection has."""
    with KernelChannel(ADDRESS) as one, KernelChannel(ADDRESS) as other:
        first, second = (dict(one.metadata(device))[REQUEST_ID_KEY] for device in ("", "vda"))

        assert first == second
        assert first != dict(other.metadata())[REQUEST_ID_KEY]


@pytest.mark.parametrize("hostile", ["a b", "x" * 65, "name\n"])
def test_an_identifier_that_is_none_is_refused(hostile: str) -> None:
    """Services would ignore it, and nothing would be found in their logs."""
    with pytest.raises(ValueError, match="1 to 64 letters"):
        KernelChannel(ADDRESS, request_id=hostile)
