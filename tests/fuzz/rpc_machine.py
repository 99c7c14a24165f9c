"""A kernel and a device of each kind, and what they offer by reflection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha import reflection_pb2_grpc

from tests.support.device_kinds import KINDS
from tests.support.world import device_address, serving
from virtmesh_common.channel import open_channel

NAMES = {"blk": "vda", "input": "keyboard", "uart": "serial", "gpu": "screen"}
"""A device of each kind."""
LEFT_OUT = ("grpc.reflection", "grpc.health")
"""Services of gRPC itself."""


@dataclass(frozen=True)
class Method:
    """One RPC, and the classes of its messages."""

    path: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool


@dataclass(frozen=True)
class Offered:
    """All RPCs, and channels to all services; the first is to the kernel."""

    methods: Sequence[Method]
    channels: Sequence[grpc.Channel]
    devices: Sequence[str]

    def check(self) -> None:
        """See that every service answers."""
        for channel in self.channels:
            health = health_pb2_grpc.HealthStub(channel)
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


@asynccontextmanager
async def machine(folder: Path) -> AsyncIterator[Offered]:
    """Serve a machine, and ask each service what it offers."""
    async with AsyncExitStack() as undo:
        devices = {NAMES[kind]: kind for kind in KINDS}
        world = await undo.enter_async_context(serving(folder, devices, metrics=None))
        addresses = [*world.server.addresses]
        for name, kind in devices.items():
            device = KINDS[kind].make(folder)
            await undo.enter_async_context(world.serve(device, name))
            addresses.append(device_address(folder, name))
        await world.ready(*devices)
        found: dict[str, Method] = {}
        for address in addresses:
            async with open_channel(address) as channel:
                found |= {method.path: method for method in await ask(channel)}
        channels = [undo.enter_context(grpc.insecure_channel(one)) for one in addresses]
        methods = [found[path] for path in sorted(found)]
        yield Offered(methods, channels, [*devices, "nobody"])


async def ask(channel: grpc.aio.Channel) -> list[Method]:
    """Return the methods that a service offers, by reflection."""
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    pool, known, methods = DescriptorPool(), set[str](), list[Method]()

    async def told(**request: str) -> pb.ServerReflectionResponse:
        call = reflection.ServerReflectionInfo(iter([pb.ServerReflectionRequest(**request)]))
        answer = await call.read()
        assert isinstance(answer, pb.ServerReflectionResponse)
        return answer

    async def add(files: Sequence[bytes]) -> None:
        for file in map(FileDescriptorProto.FromString, files):
            if file.name in known:
                continue
            known.add(file.name)
            for needed in file.dependency:
                if needed not in known:
                    answer = await told(file_by_filename=needed)
                    await add(answer.file_descriptor_response.file_descriptor_proto)
            pool.Add(file)

    services = (await told(list_services="")).list_services_response.service
    for name in (service.name for service in services):
        if name.startswith(LEFT_OUT):
            continue
        answer = await told(file_containing_symbol=name)
        await add(answer.file_descriptor_response.file_descriptor_proto)
        methods += methods_of(pool, name)
    return methods


def methods_of(pool: DescriptorPool, service: str) -> Iterator[Method]:
    """Give the methods of a service."""
    for one in pool.FindServiceByName(service).methods:
        yield Method(
            f"/{service}/{one.name}",
            GetMessageClass(one.input_type),
            GetMessageClass(one.output_type),
            bool(one.client_streaming),
        )
