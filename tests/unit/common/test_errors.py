"""An exception that a service raises is the exception that its client catches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2

from tests.support import ROOT
from virtmesh.rpc.interceptor import CallInterceptor
from virtmesh_common import errors
from virtmesh_common.api.kernel.v1 import kernel_pb2, kernel_pb2_grpc
from virtmesh_common.blk import errors as blk
from virtmesh_common.channel import SERVER_OPTIONS, make_server, open_channel
from virtmesh_common.cpu import errors as cpu
from virtmesh_common.fault import errors as fault
from virtmesh_common.gpu import errors as gpu
from virtmesh_common.input import errors as input_errors
from virtmesh_common.uart import errors as uart

PROTOS = ROOT / "protos"
KINDS = (blk, cpu, fault, gpu, input_errors, uart)
"""The modules that add the classes of a kind to the tree."""


def tree(base: type[errors.VirtmeshError]) -> Iterator[type[errors.VirtmeshError]]:
    """Walk the exception tree."""
    for kind in base.__subclasses__():
        yield kind
        yield from tree(kind)


class Raiser(kernel_pb2_grpc.KernelServiceServicer):
    """A service that fails as it is told."""

    def __init__(self, error: errors.VirtmeshError) -> None:
        self.error = error

    async def ListDevices(
        self, request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> kernel_pb2.ListDevicesResponse:
        """Abort as every service does."""
        status = errors.to_status(self.error)
        await context.abort(
            self.error.code,
            self.error.message,
            ((errors.DETAILS_KEY, status.SerializeToString()),),
        )
        return kernel_pb2.ListDevicesResponse()

    async def ListNodes(self, request: Any, context: Any) -> kernel_pb2.ListNodesResponse:
        """List nothing: the tests ask for devices."""
        return kernel_pb2.ListNodesResponse()


@pytest.mark.parametrize("kind", list(tree(errors.VirtmeshError)), ids=lambda kind: kind.reason)
async def test_error_survives_grpc(kind: type[errors.VirtmeshError], tmp_path: Path) -> None:
    """Class, message, code and metadata arrive as they were raised."""
    server = make_server()
    address = f"unix:{tmp_path}/s"
    kernel_pb2_grpc.add_KernelServiceServicer_to_server(
        Raiser(kind("disk «ä» is gone", holder="kernel")),  # type: ignore[abstract]
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

    error = errors.from_rpc_error(caught.value, address)

    assert type(error) is kind
    assert error.message == "disk «ä» is gone"
    assert error.metadata == {"holder": "kernel"}
    assert caught.value.code() is kind.code


def rpc_error(reason: str, code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    """Make what gRPC raises for an error of a class that is not imported here."""
    status = errors.to_status(errors.VirtmeshError("the pool is dry", level="0"))
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    info.reason = reason
    status.details[0].Pack(info)
    status.code = code.value[0]
    metadata = grpc.aio.Metadata((errors.DETAILS_KEY, status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, status.message)


def test_an_error_of_an_unknown_class_keeps_its_reason() -> None:
    """A kind that the client has not heard of: message, reason, code and facts arrive."""
    failure = rpc_error("POOL_EMPTY", grpc.StatusCode.RESOURCE_EXHAUSTED)

    error = errors.from_rpc_error(failure)

    for one in (error, error.again()):
        assert type(one) is errors.VirtmeshError
        assert (one.reason, one.code) == ("POOL_EMPTY", grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert (one.message, one.metadata) == ("the pool is dry", {"level": "0"})
    assert errors.VirtmeshError("of another").reason == "INTERNAL"


@pytest.mark.parametrize("reason", ["", "x", "RED\x1b[31m", "A" * 64])
def test_a_reason_that_is_none_is_not_taken(reason: str) -> None:
    """It would reach terminals and logs."""
    error = errors.from_rpc_error(rpc_error(reason, grpc.StatusCode.INTERNAL))

    assert (error.reason, error.message) == ("INTERNAL", "the pool is dry")


def test_a_call_that_nobody_offers() -> None:
    """GRPC itself answers UNIMPLEMENTED, without details: the call is not offered."""
    failure = grpc.aio.AioRpcError(
        grpc.StatusCode.UNIMPLEMENTED, grpc.aio.Metadata(), grpc.aio.Metadata(), "Method not found!"
    )

    error = errors.from_rpc_error(failure, "unix:/keyboard.sock")

    assert type(error) is errors.NotOffered
    assert error.message == "unix:/keyboard.sock does not offer this call"


@pytest.mark.parametrize(
    ("code", "details", "kind", "words"),
    [
        ("CANCELLED", "CANCELLED", errors.CallCancelled, "has too many calls, or it stops"),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", errors.NoAnswer, "busy or stopped"),
        ("UNAVAILABLE", "Socket closed", errors.ServiceUnavailable, "the connection closed"),
        ("UNKNOWN", "Stream removed", errors.ServiceUnavailable, "the connection closed"),
        ("INTERNAL", "RST_STREAM", errors.ServiceUnavailable, "RST_STREAM"),
        ("RESOURCE_EXHAUSTED", "larger than max", errors.MessageTooLarge, "larger than max"),
        ("PERMISSION_DENIED", "no", errors.VirtmeshError, "PERMISSION_DENIED: no"),
    ],
)
def test_statuses_of_grpc_itself_say_who_and_what(
    code: str, details: str, kind: type[errors.VirtmeshError], words: str
) -> None:
    """They have no details of ours: the address is named, and the words are plain."""
    failure = grpc.aio.AioRpcError(
        grpc.StatusCode[code], grpc.aio.Metadata(), grpc.aio.Metadata(), details
    )

    error = errors.from_rpc_error(failure, "unix:/kernel.sock")

    assert type(error) is kind
    assert "unix:/kernel.sock" in error.message
    assert words in error.message


@pytest.mark.parametrize("module", KINDS, ids=lambda module: module.__name__)
def test_the_classes_of_a_kind_are_in_a_module_of_its_own(module: ModuleType) -> None:
    """Every class that the module defines is drawn in its docstring."""
    own = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    ]

    assert own
    assert all(f"-- {name} " in (module.__doc__ or "") for name in own)


async def test_silence_names_the_address(tmp_path: Path) -> None:
    """Where no service answers, the error says where."""
    address = f"unix:{tmp_path}/nobody"
    async with open_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await kernel_pb2_grpc.KernelServiceStub(channel).ListDevices(
                kernel_pb2.ListDevicesRequest()
            )

    error = errors.from_rpc_error(caught.value, address)

    assert type(error) is errors.ServiceUnavailable
    assert address in error.message


def test_every_reason_in_the_protos_exists() -> None:
    """The protos promise CODE/REASON pairs; each is one class with that very code."""
    text = "\n".join(path.read_text() for path in PROTOS.rglob("*.proto"))
    codes = "|".join(code.name for code in grpc.StatusCode)
    promised = set(re.findall(rf"\b({codes})/([A-Z_]+)\b", text))

    wrong = {
        f"{code}/{reason}"
        for code, reason in promised
        if reason not in errors.BY_REASON or errors.BY_REASON[reason].code.name != code
    }

    assert len(promised) > 20
    assert not wrong


def test_reasons_are_unique() -> None:
    """No two classes share a reason."""
    kinds = list(tree(errors.VirtmeshError))

    assert len({kind.reason for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("letter", ["x", "ä", "\N{SNOWMAN}", "\N{SNAKE}"])
async def test_long_message_fits_grpc_metadata(tmp_path: Path, letter: str) -> None:
    """A message is cut where gRPC would refuse the whole answer, in any script."""

    class Service(kernel_pb2_grpc.KernelServiceServicer):
        async def ListDevices(self, request: Any, context: Any) -> Any:
            raise errors.DeviceNotFound(letter * 100_000)

        async def ListNodes(self, request: Any, context: Any) -> Any:
            raise errors.DeviceNotFound(letter * 100_000)

    address = f"unix:{tmp_path}/service.sock"
    server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=(CallInterceptor(),))
    kernel_pb2_grpc.add_KernelServiceServicer_to_server(Service(), server)  # type: ignore[abstract]
    server.add_insecure_port(address)
    await server.start()
    async with open_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await kernel_pb2_grpc.KernelServiceStub(channel).ListDevices(
                kernel_pb2.ListDevicesRequest()
            )
    await server.stop(None)

    error = errors.from_rpc_error(caught.value, address)

    assert type(error) is errors.DeviceNotFound
    assert error.message
    assert set(error.message) == {letter}
