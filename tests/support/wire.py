"""Every RPC of a machine as a foreign client sees it: raw bytes, and what the contracts promise.

Methods are found in the contracts of this build, so that a new RPC is tried without a new test.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from virtmesh.rpc.metrics import contract_services

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import Descriptor, MethodDescriptor

SECONDS = 20.0
"""Limit of a call that must end by itself."""
VARINTS = (0, 1, 0x7F, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1)
"""Numbers at the ends of the ranges of protobuf; negative ones are sent as the last two."""
DOUBLES = (0.0, -1.0, float("nan"), float("inf"), 1e308)
TEXTS = (b"", b"vda", b"keyboard", b"serial", b"\x00", b"x" * 70_000, b"\xff\xfe", b"../../etc")
"""Bytes of strings, byte fields and nested messages: of devices, too long, no UTF-8."""
NOT_PROTOBUF = (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"GET / HTTP/1.1\r\n\r\n", b"\x0b\x0b\x0b")
"""Bytes that are no message: cut short, longer than they say, a group without an end."""
DEEP_MAX = 2
"""Nested messages that are filled in; deeper ones stay empty."""


@dataclass(frozen=True)
class Method:
    """One RPC."""

    descriptor: MethodDescriptor

    @property
    def service(self) -> str:
        """Full name of its service."""
        return str(self.descriptor.containing_service.full_name)

    @property
    def path(self) -> str:
        """Its path on the wire."""
        return f"/{self.service}/{self.descriptor.name}"

    @property
    def streams_requests(self) -> bool:
        """True when the client sends a stream."""
        return bool(self.descriptor.client_streaming)

    @property
    def streams_responses(self) -> bool:
        """True when the service sends a stream."""
        return bool(self.descriptor.server_streaming)

    def open(
        self, channel: grpc.Channel, requests: Iterable[bytes], seconds: float, **options: Any
    ) -> Any:
        """Begin the call with raw requests. On the wire every RPC is a stream of messages."""
        multicall: Any = channel.stream_stream(self.path)
        return multicall(iter(requests), timeout=seconds, **options)

    def end(
        self, channel: grpc.Channel, requests: Iterable[bytes], **options: Any
    ) -> tuple[str, str]:
        """Make the call, take at most one response; return the name of its status and its text."""
        return end_of(channel, self.path, requests, **options)


def end_of(
    channel: grpc.Channel, path: str, requests: Iterable[bytes], **options: Any
) -> tuple[str, str]:
    """Make a call, take at most one response; return the name of its status and its text."""
    multicall: Any = channel.stream_stream(path)
    call = multicall(iter(requests), timeout=SECONDS, **options)
    try:
        next(call, None)
    except grpc.RpcError as failure:
        ended = cast("grpc.Call", failure)
        return ended.code().name, ended.details() or ""
    finally:
        call.cancel()
    return "OK", ""


def methods(*services: str) -> list[Method]:
    """Return the RPCs of services, given by the beginnings of their full names."""
    return [
        Method(method)
        for service in contract_services()
        if service.full_name.startswith(services)
        for method in service.methods
    ]


def hostile(message: Descriptor, deep: int = 0) -> Iterator[bytes]:
    """Give messages with extreme values: each field alone, all together, and bytes that are none.

    Wire types are not always those of the fields: a parser must take that as an unknown field.
    """
    yield from NOT_PROTOBUF if deep == 0 else ()
    yield b""
    for field in message.fields:
        for value in values(field, deep):
            yield value
            yield b"".join(first(other, deep) for other in message.fields) + value
    yield _key(1, 0) + _varint(5) + _key(536870911, 2) + _varint(3) + b"abc"


def values(field: FieldDescriptor, deep: int) -> Iterator[bytes]:
    """Give a field with extreme values."""
    if field.message_type is not None and deep < DEEP_MAX:
        for nested in hostile(field.message_type, deep + 1):
            yield _key(field.number, 2) + _varint(len(nested)) + nested
    elif field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}:
        for text in TEXTS:
            yield _key(field.number, 2) + _varint(len(text)) + text
    elif field.type == FieldDescriptor.TYPE_DOUBLE:
        for number in DOUBLES:
            yield _key(field.number, 1) + struct.pack("<d", number)
    else:
        for number in VARINTS:
            yield _key(field.number, 0) + _varint(number)
    yield _key(field.number, 5) + b"\x01\x02\x03\x04"


def first(field: FieldDescriptor, deep: int) -> bytes:
    """Return a field with a value that a request can have: devices by name, else ones."""
    if field.message_type is not None:
        nested = b"".join(first(one, deep + 1) for one in field.message_type.fields)
        nested = nested if deep < DEEP_MAX else b""
        return _key(field.number, 2) + _varint(len(nested)) + nested
    if field.type == FieldDescriptor.TYPE_STRING:
        return _key(field.number, 2) + _varint(3) + b"vda"
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _key(field.number, 2) + _varint(1) + b"x"
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return _key(field.number, 1) + struct.pack("<d", 1.0)
    return _key(field.number, 0) + _varint(1)


def plain(method: Method) -> bytes:
    """Return a request with the defaults only."""
    return GetMessageClass(method.descriptor.input_type)().SerializeToString()


def _key(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))
