"""Framing of vhost-user: messages with descriptors over a unix stream socket, for either end.

Received bytes are hostile: a size is checked before anything of that size is read. Descriptors
belong to the first byte of their message ("Communication"). Every received descriptor is in a
`Message`, which its receiver closes.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field

from virtmesh.rpc.strangers import SCM_MAX_FD, close_all, hang_up
from virtmesh.vhost_user.messages import (
    FLAGS,
    HEADER,
    NEED_REPLY,
    PAYLOAD_LIMIT,
    REGIONS_MAX,
    REPLY,
    SHAPES,
    VERSION,
    Request,
    Shape,
)
from virtmesh_common.errors import FrontEndViolation
from virtmesh_common.time_limit import time_limit

DESCRIPTORS_MAX = REGIONS_MAX
"""Most descriptors of a message."""
MESSAGE_SECONDS = 30.0
"""Time in which the rest of a message must arrive."""


@dataclass
class Message:
    """One received message: its payload is not parsed, its descriptors are open."""

    request: int
    flags: int = VERSION
    payload: bytes = b""
    descriptors: list[int] = field(default_factory=list)

    @property
    def needs_reply(self) -> bool:
        """The sender asks for an answer."""
        return bool(self.flags & NEED_REPLY)

    @property
    def is_reply(self) -> bool:
        """It answers a message of this side."""
        return bool(self.flags & REPLY)

    @property
    def descriptor(self) -> int | None:
        """The first descriptor, which the message keeps; None if there is none."""
        return self.descriptors[0] if self.descriptors else None

    def take_descriptor(self) -> int | None:
        """Return the first descriptor, which the caller owns from now on; None if there is none."""
        return self.descriptors.pop(0) if self.descriptors else None

    def close(self) -> None:
        """Close the descriptors that nobody took."""
        close_all(self.descriptors)
        self.descriptors.clear()


class MessageSocket:
    """One end of a connection. One task may read. Writing never waits."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)  # noqa: FBT003 - as socket has it
        self._socket = connection
        self._failed: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None

    async def receive(self) -> Message | None:
        """Wait for a message. Return None at the end of the connection.

        Errors: FrontEndViolation for a malformed message; the exception that `fail` was given.
        """
        head = Message(0)
        try:
            data = await self._piece(head, HEADER.size)
            if not data:
                return None
            async with time_limit(MESSAGE_SECONDS):
                data += await self._rest(head, HEADER.size - len(data))
                head.request, head.flags, size = HEADER.unpack(data)
                check_header(head, size)
                head.payload = await self._rest(head, size)
        except BaseException as error:
            head.close()
            if isinstance(error, TimeoutError):
                raise FrontEndViolation(
                    f"the rest of a message did not come within {MESSAGE_SECONDS:.0f} s"
                ) from None
            raise
        return head

    def send(self, request: int, flags: int, payload: bytes, descriptors: list[int]) -> None:
        """Send a message. Errors: FrontEndViolation if the other side does not read it."""
        data = HEADER.pack(request, flags | VERSION, len(payload)) + payload
        try:
            sent = socket.send_fds(self._socket, [data], descriptors, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise FrontEndViolation(
                f"an answer can't be sent: {os.strerror(error.errno or 0)}"
            ) from error
        if sent != len(data):
            raise FrontEndViolation("the other side does not take its answers")

    def fail(self, error: Exception) -> None:
        """Have `receive` raise an error, now or at its next call."""
        self._failed = self._failed or error
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def close(self) -> None:
        """Close the connection."""
        hang_up(self._socket)
        self._failed = None  # Its traceback would keep frames, and the objects in them, alive.

    async def _readable(self) -> None:
        """Wait until there is something to read."""
        if self._failed is None:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            loop.add_reader(self._socket.fileno(), self._wake)
            try:
                await self._waiting
            finally:
                loop.remove_reader(self._socket.fileno())
                self._waiting = None
        if self._failed is not None:
            raise self._failed

    def _wake(self) -> None:
        """Note that the socket is readable."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _rest(self, head: Message, size: int) -> bytes:
        """Read exactly `size` more bytes."""
        data = b""
        while len(data) < size:
            before = len(head.descriptors)
            piece = await self._piece(head, size - len(data))
            if not piece:
                raise FrontEndViolation(
                    f"the connection ended {size - len(data)} bytes before a message did"
                )
            if len(head.descriptors) != before:
                raise FrontEndViolation("descriptors came after the first byte of a message")
            data += piece
        return data

    async def _piece(self, head: Message, size: int) -> bytes:
        """Wait for at most `size` bytes; empty at the end. Descriptors are added to `head`."""
        while True:
            await self._readable()
            with suppress(BlockingIOError):
                return self._read(head, size)

    def _read(self, head: Message, size: int) -> bytes:
        """Read at most `size` bytes; empty at the end. Descriptors are added to `head`."""
        descriptors = array.array("i")
        room = socket.CMSG_SPACE(SCM_MAX_FD * descriptors.itemsize)
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return b""
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(content[: len(content) - len(content) % 4])
        head.descriptors.extend(descriptors)
        if flags & socket.MSG_CTRUNC or len(head.descriptors) > DESCRIPTORS_MAX:
            raise FrontEndViolation(
                f"more than {DESCRIPTORS_MAX} descriptors came, or this service has none left"
            )
        return data


def check_header(message: Message, size: int) -> None:
    """Check a header before its payload is read. Errors: FrontEndViolation."""
    unknown = message.flags & ~FLAGS
    if message.flags & 3 != VERSION or unknown:
        raise FrontEndViolation(
            f"message {message.request}: the flags {message.flags:#x} are not of version {VERSION}"
        )
    if size > PAYLOAD_LIMIT:
        raise FrontEndViolation(
            f"message {message.request}: a payload of {size} bytes; the limit is {PAYLOAD_LIMIT}"
        )


def find_shape(message: Message) -> tuple[Request, Shape]:
    """Return which message of a front end this is, and its shape.

    Errors: FrontEndViolation if it is none, or has a wrong number of descriptors.
    """
    if message.is_reply:
        raise FrontEndViolation(f"message {message.request} is a reply to nothing")
    try:
        request = Request(message.request)
    except ValueError:
        raise FrontEndViolation(f"message {message.request} is not supported") from None
    shape, count = SHAPES[request], len(message.descriptors)
    if count not in shape.descriptors:
        raise FrontEndViolation(
            f"{request.name} came with {count} descriptors; it has"
            f" {shape.descriptors.start} to {shape.descriptors.stop - 1}"
        )
    return request, shape


def close_quietly(descriptor: int | None) -> None:
    """Close a descriptor of a front end, if there is one, without waiting for it."""
    if descriptor is not None:
        close_all([descriptor])
