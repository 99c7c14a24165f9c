"""Reflection at the kernel, and calls that name no device, by a client that has no contracts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.support.cli import Cli, own_folder
from tests.support.wire import end_of
from virtmesh.rpc.reflection import METHODS
from virtmesh_common.channel import DEVICE_KEY

pytestmark = pytest.mark.processes

INPUT = "virtmesh.input.v1.InputService"
GET_INFO = f"/{INPUT}/GetInfo"
GRPCURL = shutil.which("grpcurl") or str(Path.home() / "go" / "bin" / "grpcurl")


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """Start a machine with two keyboards and a disk."""
    with own_folder() as cli:
        keyboards = ("--input", "keyboard", "--input", "mouse")
        cli.up("--no-serial", "--disk", "disk.img,size=1M", *keyboards)
        yield cli


@pytest.fixture
def channel(cli: Cli) -> Iterator[grpc.Channel]:
    """Open a channel to the kernel."""
    with grpc.insecure_channel(cli.state.address) as channel:
        yield channel


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("metadata", [(), ((DEVICE_KEY, "keyboard"),)])
def test_the_kernel_lists_what_it_forwards(
    channel: grpc.Channel, method: str, metadata: tuple[tuple[str, str], ...]
) -> None:
    """Own and forwarded services, in both versions, also for a tool that names a device always."""
    call = channel.stream_stream(
        method,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = call(iter([request]), timeout=10, metadata=metadata)
    names = {one.name for one in answer.list_services_response.service}

    assert {
        "virtmesh.kernel.v1.KernelService",
        "virtmesh.block.v1.BlockAdminService",
        "virtmesh.device.v1.DeviceService",
        INPUT,
    } <= names
    assert "virtmesh.register.v1.RegisterService" not in names


def test_a_client_without_contracts_calls_a_device(channel: grpc.Channel) -> None:
    """What reflection says is enough to make a request and to read the response."""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName(INPUT).FindMethodByName("GetInfo")
    request, response = map(GetMessageClass, (method.input_type, method.output_type))
    call = channel.unary_unary(
        GET_INFO,
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )

    answer = call(request(), timeout=10, metadata=((DEVICE_KEY, "mouse"),))

    assert "mouse" in str(answer).lower()


@pytest.mark.parametrize(
    ("method", "names"),
    [
        (GET_INFO, "keyboard, mouse"),
        ("/virtmesh.block.v1.BlockAdminService/GetInfo", "vda"),
        ("/virtmesh.device.v1.DeviceService/Describe", "vda, keyboard, mouse"),
    ],
)
def test_a_call_without_a_device_is_told_which_there_are(
    channel: grpc.Channel, method: str, names: str
) -> None:
    """The error names the metadata key, and the devices that offer the service."""
    code, details = end_of(channel, method, [b""])

    assert code == "INVALID_ARGUMENT"
    assert DEVICE_KEY in details
    assert details.endswith(f"one of {names}")


def test_a_call_for_two_devices_is_refused(channel: grpc.Channel) -> None:
    """None of the two is taken in silence."""
    both = [(DEVICE_KEY, "keyboard"), (DEVICE_KEY, "mouse")]
    code, details = end_of(channel, GET_INFO, [b""], metadata=both)

    assert (code, details) == (
        "INVALID_ARGUMENT",
        f"a call is for one device: send {DEVICE_KEY} once",
    )


@pytest.mark.parametrize(
    "method", ["/virtmesh.register.v1.RegisterService/Read", "/no.such.Service/Call"]
)
def test_a_call_that_nobody_offers_is_unimplemented(channel: grpc.Channel, method: str) -> None:
    """Registers are not for strangers, and what is not there is not forwarded."""
    code, details = end_of(channel, method, [b""])

    assert code == "UNIMPLEMENTED"
    assert "does not offer" in details


@pytest.mark.skipif(not os.access(GRPCURL, os.X_OK), reason="grpcurl is not installed")
def test_grpcurl_lists_describes_and_calls(cli: Cli) -> None:
    """The tool that people use for it, with its metadata on every call."""

    def grpcurl(*arguments: str) -> str:
        options = ("-plaintext", "-H", f"{DEVICE_KEY}: keyboard")
        line = [GRPCURL, *options, cli.state.address, *arguments]
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=30).stdout

    assert INPUT in grpcurl("list").split()
    assert "rpc GetInfo" in grpcurl("describe", INPUT)
    assert json.loads(grpcurl(f"{INPUT}/GetInfo"))
