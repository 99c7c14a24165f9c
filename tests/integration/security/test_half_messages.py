"""Messages that never come whole: memory is bounded, whoever sends them, and others are served."""

from __future__ import annotations

import ssl
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest

from tests.bench.attacks import resident
from tests.support.half_messages import HalfMessages, connect
from tests.support.secured import SECONDS, Keyboard, status_of
from virtmesh_common.channel import MESSAGE_LIMIT_BYTES
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.secured import People

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

DESCRIBE = "/virtmesh.device.v1.DeviceService/Describe"
WATCH = "/virtmesh.trace.v1.TraceService/Watch"
INJECT = "/virtmesh.input.v1.InputService/Inject"
KEY = "/virtmesh.input.v1.InputService/Key"
ACCESS = "/virtmesh.register.v1.RegisterService/Access"
CHECK = "/grpc.health.v1.Health/Check"
CONNECTIONS, CALLS = 2, 120
"""480 MiB if all of it is taken."""
ALMOST_LARGEST = MESSAGE_LIMIT_BYTES - 64
"""Bytes of a message that gRPC lets in."""
OF_MANY = 200
"""Most MiB that may be taken: the largest message of each place, windows, and what malloc keeps."""
OF_STRANGERS = 100
"""Most MiB that callers take who are not let in: windows of 64 KiB for a short time."""


class Attack(NamedTuple):
    """How the messages come, to which method: of one client, or of as many names as calls."""

    way: str
    method: str
    most: int
    """MiB."""
    name: str = ""


@pytest.fixture
def keyboard(people: People) -> Iterator[Keyboard]:
    """Start a keyboard: what one attack took, malloc keeps."""
    with Keyboard(people) as keyboard:
        yield keyboard


def place(keyboard: Keyboard, way: str) -> tuple[str, ssl.SSLContext | None]:
    """Return where a way in is, and what it takes to connect."""
    if way == "socket":
        return keyboard.address.roles[Role.DRIVER], None
    bundle = keyboard.people.bundles[Role.DRIVER]
    context = ssl.create_default_context(cadata=bundle.authority)
    if way != "certificate":
        return keyboard.address.tokens, context
    pair = keyboard.people.folder / "driver.pem"
    pair.write_text(bundle.certificate + bundle.key)
    context.load_cert_chain(pair)
    return keyboard.address.certificates, context


def metadata(keyboard: Keyboard, way: str) -> Sequence[tuple[str, str]]:
    """Return what such a caller sends."""
    if way != "token":
        return ()
    return (("authorization", f"Bearer {keyboard.people.token(Role.DRIVER)}"),)


@pytest.mark.parametrize(
    "attack",
    [
        Attack("socket", WATCH, OF_MANY, "liar"),
        Attack("socket", ACCESS, OF_MANY),
        Attack("socket", CHECK, OF_MANY),
        Attack("certificate", DESCRIBE, OF_MANY),
        Attack("token", DESCRIBE, OF_MANY),
        Attack("stranger", DESCRIBE, OF_STRANGERS),
    ],
    ids=lambda attack: f"{attack.way}-{attack.method.rpartition('/')[2]}",
)
def test_memory_is_bounded(keyboard: Keyboard, attack: Attack) -> None:
    """Another client is served meanwhile, by a listener of its own."""
    address, context = place(keyboard, attack.way)
    fields = metadata(keyboard, attack.way)
    number = keyboard.process.pid
    before = resident(number)
    with ExitStack() as undo:
        for one in range(CONNECTIONS):
            name = attack.name and f"{attack.name}{one}-"
            connection = connect(address, context)
            half = undo.enter_context(HalfMessages(connection, attack.method, fields, name))
            half.begin(CALLS)
        with grpc.insecure_channel(keyboard.address.roles[Role.OBSERVER]) as channel:
            assert status_of(channel, DESCRIBE) == ("OK", "")
            assert status_of(channel, CHECK) == ("OK", "")

    assert resident(number, "VmHWM") - before < attack.most


@pytest.mark.parametrize(
    ("method", "part"),
    [(KEY, b"\x0a\x01a"), (INJECT, b"\x12\x00"), (ACCESS, b"\x08\x00")],
    ids=["Key", "Inject", "Access"],
)
def test_messages_of_many_tiny_parts(keyboard: Keyboard, method: str, part: bytes) -> None:
    """They would take 30 times their size: none is parsed."""
    message = part * (ALMOST_LARGEST // len(part))
    number = keyboard.process.pid
    with grpc.insecure_channel(keyboard.address.roles[Role.OWNER]) as channel:
        assert status_of(channel, CHECK) == ("OK", "")
        before = resident(number)
        call: Any = channel.stream_stream(method)
        calls = [call(iter((message,)), timeout=SECONDS) for _ in range(CALLS // 4)]
        codes = {code_of(one) for one in calls}
        assert status_of(channel, DESCRIBE) == ("OK", "")

    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert resident(number, "VmHWM") - before < OF_MANY


def code_of(call: Any) -> grpc.StatusCode:
    """Return how a call ends."""
    with suppress(grpc.RpcError):
        for _ in call:
            pass
    code: grpc.StatusCode = call.code()
    return code


def test_a_call_has_one_request_of_its_size(keyboard: Keyboard) -> None:
    """None is refused, and so is one that is larger than such requests are."""
    with grpc.insecure_channel(keyboard.address.roles[Role.OBSERVER]) as channel:
        silent: Any = channel.stream_unary(DESCRIBE)
        with pytest.raises(grpc.RpcError) as caught:
            silent(iter(()), timeout=SECONDS)
        large = status_of(channel, DESCRIBE, message=b"\x7a" + b"\xfe\xff\x03" + bytes(65534))
        fits = status_of(channel, DESCRIBE, message=b"\x7a" + b"\xfc\xff\x03" + bytes(65532))

    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert large == ("RESOURCE_EXHAUSTED", f"a request of {DESCRIBE} has 65536 bytes at most")
    assert fits == ("OK", "")
