"""Errors that quote strangers: what no message, log or terminal takes never leaves them."""

from __future__ import annotations

from pathlib import Path

import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.common.test_errors import Raiser, tree
from virtmesh.rpc.interceptor import abort
from virtmesh_common import errors
from virtmesh_common.api.kernel.v1 import kernel_pb2, kernel_pb2_grpc
from virtmesh_common.api.memory.v1 import handover_pb2
from virtmesh_common.channel import make_server, open_channel

HOSTILE = st.text(alphabet=st.characters(categories=["Cc", "Cf", "Cs", "Co", "Lu", "Zs", "Zl"]))
"""Text with halves of pairs (what is no UTF-8), NUL, control characters and ends of lines."""
TEXTS = ("\udcff\udcfe", "a\0b", "\x1b[2J", "first\r\nsecond", "\ud800" * 5000, "\u202e%00%")


@given(kind=st.sampled_from(list(tree(errors.VirtmeshError))), text=HOSTILE)
def test_every_error_can_be_told(kind: type[errors.VirtmeshError], text: str) -> None:
    """In a status, and in the answer to a handover; and nothing in it drives a terminal."""
    error = kind(f"a file named {text}", file=text)
    status = errors.to_status(error)
    assert type(status).FromString(status.SerializeToString()) == status
    answer = handover_pb2.HandoverResponse(error_reason=error.reason, error_message=error.message)
    answer.SerializeToString()
    for told in (error.message, str(error), *error.metadata.values(), str(error.again())):
        assert all(line.isprintable() for line in told.replace("\t", " ").split("\n"))


class Aborter(Raiser):
    """Fails as the services do."""

    async def ListDevices(
        self, request: object, context: grpc.aio.ServicerContext[object, object]
    ) -> kernel_pb2.ListDevicesResponse:
        """Abort."""
        await abort(context, self.error)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_every_error_gets_to_its_client(text: str, tmp_path: Path) -> None:
    """As the class that it is: gRPC's own details are no stranger's either."""
    server = make_server()
    address = f"unix:{tmp_path}/s"
    error = errors.DeviceAttached(f"held by {text}", holder=text[:100])
    kernel_pb2_grpc.add_KernelServiceServicer_to_server(
        Aborter(error),  # type: ignore[abstract]
        server,
    )
    server.add_insecure_port(address)
    await server.start()
    async with open_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await kernel_pb2_grpc.KernelServiceStub(channel).ListDevices(
                kernel_pb2.ListDevicesRequest()
            )
    await server.stop(None)
    found = errors.from_rpc_error(caught.value, address)
    assert type(found) is errors.DeviceAttached
    assert found.message.startswith("held by ")
    assert found.metadata == error.metadata
