"""Every RPC of every service, called by everybody: what the table says is what happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.support.secured import People, SecuredService, channel_with, status_of
from virtmesh.rpc.reflection import METHODS, V1_NAME
from virtmesh_common.api.kernel.v1 import guest_pb2
from virtmesh_common.channel import DEVICE_KEY
from virtmesh_common.security.roles import TABLE, Role

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

NAMES = ("vda", "keyboard", "serial", "gpu", "kernel", "cpu")
KINDS = {
    "vda": ("blk", "--image", "vda.img", "--size", "1M"),
    "keyboard": ("input", "--personality", "keyboard"),
    "serial": ("uart",),
    "gpu": ("gpu",),
}
MACHINE = """
name = "locked"
[[devices]]
name = "keyboard"
kind = "input"
[[devices]]
name = "serial"
kind = "uart"
"""
SPIN = b"\x6f\x00\x00\x00"
"""`j .` of RISC-V."""
OWN = ("/virtmesh.kernel.", "/virtmesh.cpu.")
"""How methods begin that the kernel and CPU services do not forward."""
ATTACH_GUEST = "/virtmesh.kernel.v1.GuestService/AttachGuest"
"""It is not offered over TCP."""
REFUSED = {"UNAUTHENTICATED", "PERMISSION_DENIED"}


class World:
    """All services of a machine, and all its callers."""

    def __init__(self, folder: Path, undo: ExitStack) -> None:
        self.people = People(folder)
        (folder / "machine.toml").write_text(MACHINE)
        (folder / "kernel.bin").write_bytes(SPIN * 64)
        (folder / "empty.toml").write_text('name = "board"\n[cpu]\nkernel = "kernel.bin"\n')
        programs = {
            **{
                name: ("virtmesh.host.main", kind, "--name", name, *options)
                for name, (kind, *options) in KINDS.items()
            },
            "kernel": ("virtmesh.kernel.main", "--machine", "machine.toml"),
            "cpu": ("virtmesh.cpu.main", "--machine", "empty.toml", "--halted"),
        }
        self.services = {
            name: undo.enter_context(SecuredService(module, folder, name, *arguments))
            for name, (module, *arguments) in programs.items()
        }


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Start everything once: the calls are empty, and leave it as it was."""
    with TemporaryDirectory(prefix="vm-") as folder, ExitStack() as undo:
        yield World(Path(folder), undo)


@pytest.fixture(params=NAMES)
def service(request: pytest.FixtureRequest, world: World) -> SecuredService:
    """Give the test each service."""
    return world.services[request.param]


def as_role(world: World, service: SecuredService, role: Role) -> grpc.Channel:
    """Open a channel with the certificate of a role."""
    bundle = world.people.bundles[role]
    return channel_with(service.address.certificates, bundle, bundle.authority)


def methods_of(channel: grpc.Channel) -> dict[str, bool]:
    """Return the methods of all services that reflection lists, and whether each is a stream."""
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = DescriptorPool(database)
    found: dict[str, bool] = dict.fromkeys(METHODS, True)
    for service in database.get_services():
        if service != V1_NAME:
            for method in pool.FindServiceByName(service).methods:
                streams = method.client_streaming or method.server_streaming
                found[f"/{service}/{method.name}"] = streams
    return found


def outcomes(channel: grpc.Channel, methods: dict[str, bool], metadata: Any = ()) -> dict[str, str]:
    """Call all methods; return the status of each."""
    return {
        method: status_of(channel, method, metadata, is_stream=is_stream)[0]
        for method, is_stream in methods.items()
    }


def refused(statuses: dict[str, str]) -> set[str]:
    """Return the methods that were refused for who called."""
    return {method for method, status in statuses.items() if status in REFUSED}


def allowed_to(role: Role, methods: dict[str, bool]) -> set[str]:
    """Return those of the methods that the table gives to a role."""
    return {method for method in methods if role in TABLE[method].roles}


@pytest.fixture
def methods(world: World, service: SecuredService) -> dict[str, bool]:
    """Ask the service what it offers."""
    with as_role(world, service, Role.OWNER) as channel:
        found = methods_of(channel)
    assert len(found) > 10
    return found


@pytest.mark.parametrize("role", list(Role))
def test_a_certificate_opens_what_the_table_says(
    world: World, service: SecuredService, methods: dict[str, bool], role: Role
) -> None:
    """Nothing more, and nothing less."""
    with as_role(world, service, role) as channel:
        statuses = outcomes(channel, methods)

    assert refused(statuses) == set(methods) - allowed_to(role, methods)
    assert "UNAUTHENTICATED" not in statuses.values()
    assert "UNAVAILABLE" not in {statuses[one] for one in refused(statuses)}


@pytest.mark.parametrize("role", list(Role))
def test_so_does_a_socket_of_a_role(
    service: SecuredService, methods: dict[str, bool], role: Role
) -> None:
    """Whoever may open it has its role."""
    with grpc.insecure_channel(service.address.roles[role]) as channel:
        statuses = outcomes(channel, methods)

    assert refused(statuses) == set(methods) - allowed_to(role, methods)


@pytest.mark.parametrize("role", [Role.OBSERVER, Role.OPERATOR])
def test_so_does_a_token(
    world: World, service: SecuredService, methods: dict[str, bool], role: Role
) -> None:
    """It comes with each call."""
    bearer = (("authorization", f"Bearer {world.people.token(role)}"),)
    with channel_with(service.address.tokens, None, world.people.authority.certificate) as channel:
        statuses = outcomes(channel, methods, bearer)

    assert refused(statuses) == set(methods) - allowed_to(role, methods)


@pytest.mark.parametrize(
    "case", ["none", "unknown", "expired", "revoked", "twice", "basic", "in the path"]
)
def test_without_an_identity_nothing_is_open(
    world: World, service: SecuredService, methods: dict[str, bool], case: str
) -> None:
    """Neither health nor reflection, whatever is wrong with the token."""
    people = world.people
    token = people.token(Role.OWNER, age=2 if case == "expired" else 0)
    if case == "revoked":
        people.tokens.revoke(token.split("_")[1])
    metadata = {
        "none": (),
        "unknown": (("authorization", "Bearer vmt_0123456789ab_" + "A" * 32),),
        "twice": (("authorization", f"Bearer {token}"),) * 2,
        "basic": (("authorization", f"Basic {token}"),),
        "in the path": (("path", f"?access_token={token}"), ("access_token", token)),
    }.get(case, (("authorization", f"Bearer {token}"),))
    with channel_with(service.address.tokens, None, people.authority.certificate) as channel:
        statuses = outcomes(channel, methods, metadata)

    assert set(statuses.values()) == {"UNAUTHENTICATED"}


def test_a_revoked_certificate_opens_nothing(
    world: World, service: SecuredService, methods: dict[str, bool]
) -> None:
    """Also on a connection that was open before, and without a restart."""
    people = world.people
    bundle = people.issue(Role.OWNER, "leaver")
    with channel_with(service.address.certificates, bundle, bundle.authority) as channel:
        before = outcomes(channel, methods)
        people.authority.revoke("leaver")
        after = outcomes(channel, methods)

    assert refused(before) == set()
    assert set(after.values()) == {"UNAUTHENTICATED"}


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
def test_the_gateway_asks_the_same_table(world: World, role: Role) -> None:
    """A call that is forwarded to a device is refused at the kernel, before the device hears it."""
    with as_role(world, world.services["keyboard"], Role.OWNER) as channel:
        methods = {
            method: is_stream
            for method, is_stream in methods_of(channel).items()
            if method.startswith("/virtmesh.") and "reflection" not in method
        }
    with as_role(world, world.services["kernel"], role) as channel:
        statuses = outcomes(channel, methods, ((DEVICE_KEY, "keyboard"),))

    assert refused(statuses) == set(methods) - allowed_to(role, methods)


def test_a_refusal_says_what_to_do(world: World) -> None:
    """Who, what, and for whom it is."""
    with as_role(world, world.services["vda"], Role.OBSERVER) as channel:
        status, text = status_of(channel, "/virtmesh.block.v1.BlockAdminService/Resize")

    assert status == "PERMISSION_DENIED"
    assert text == (
        "observer is observer, and /virtmesh.block.v1.BlockAdminService/Resize is for: operator,"
        " owner. Ask the owner of the machine for another role"
    )


def test_every_change_is_in_the_audit_with_what_it_touched(
    world: World, service: SecuredService, methods: dict[str, bool]
) -> None:
    """A device, whether the service has just it or a message names it; or the CPU."""
    is_machine = service.name in {"kernel", "cpu"}
    device = "serial" if is_machine else service.name
    changing = {
        method
        for method in methods
        if TABLE[method].changes and (not is_machine or method.startswith(OWN))
    } - {ATTACH_GUEST}
    bundle = world.people.issue(Role.OWNER, "walker")
    with channel_with(service.address.certificates, bundle, bundle.authority) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        for method in changing:
            _, full_name, name = method.split("/")
            kind = pool.FindServiceByName(full_name).methods_by_name[name].input_type
            status_of(channel, method, message=request_about(kind, device))

    named = "unknown" if service.name == "cpu" else device  # this one has no devices
    assert audited(service, changing, "walker") == {
        method: {TABLE[method].touches or named} for method in changing
    }


def test_so_is_a_guest_with_its_port(world: World) -> None:
    """It comes by the socket; its first message names the port, and the service knows which."""
    kernel = world.services["kernel"]
    request = guest_pb2.AttachGuestRequest(start=guest_pb2.Guest(serial="serial"))
    with grpc.insecure_channel(kernel.address.roles[Role.OWNER]) as channel:
        status_of(channel, ATTACH_GUEST, message=request.SerializeToString())

    assert kernel.line("call", logger="virtmesh.audit", rpc=ATTACH_GUEST, device="serial")


def test_so_is_every_change_that_is_forwarded(world: World) -> None:
    """The metadata names the device; whether it answers or not."""
    with as_role(world, world.services["keyboard"], Role.OWNER) as channel:
        methods = methods_of(channel)
    kernel = world.services["kernel"]
    changing = {method for method in methods if TABLE[method].changes}
    bundle = world.people.issue(Role.OWNER, "sender")
    with channel_with(kernel.address.certificates, bundle, bundle.authority) as channel:
        for method in changing:
            status_of(channel, method, ((DEVICE_KEY, "keyboard"),))

    assert audited(kernel, changing, "sender") == {method: {"keyboard"} for method in changing}


def audited(service: SecuredService, methods: set[str], identity: str) -> dict[str, set[str]]:
    """Return what the audit says that the calls of somebody have touched, by method."""
    facts = {"logger": "virtmesh.audit", "identity": identity}
    for method in methods:
        service.line("call", rpc=method, **facts)
    return {
        method: {one.get("device", "nothing") for one in service.lines("call", rpc=method, **facts)}
        for method in methods
    }


def request_about(kind: Any, device: str) -> bytes:
    """Return a request of a message type that names a device wherever one can be named."""
    message = GetMessageClass(kind)()
    for field in kind.fields:
        if field.name in {"device", "serial"}:
            setattr(message, field.name, device)
        elif field.name in {"header", "start"}:
            content = request_about(field.message_type, device)
            getattr(message, field.name).ParseFromString(content)
    data: bytes = message.SerializeToString()
    return data
