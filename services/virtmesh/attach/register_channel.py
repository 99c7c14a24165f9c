"""The driver's end of the register channel: batches as packets on the handover connection.

See protos/virtmesh/memory/v1/handover.proto. The device answers in the order of the requests, and
may stop reading while answers are not read: so answers are always read, and requests that find
the socket full wait here. There are no more of them than the bus lets be outstanding.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING

from virtmesh.attach.cycles import pack
from virtmesh.attach.exchange import Answer, Exchange, Refusal
from virtmesh.rpc.strangers import receive
from virtmesh_common.errors import BadStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_common.errors import VirtmeshError

CHANNEL_VERSION = 1
"""The version of HandoverResponse.register_channel that this is."""
ENTRY_LIMIT = 4000
"""Most accesses of one request."""
REQUEST = struct.Struct("<II")
"""Tag, count."""
ANSWER = struct.Struct("<IIIIQ")
"""Tag, count, flags, pending causes, line sequence."""
REFUSED = 2
"""Flag of an answer: an access was refused."""
MESSAGE_LIMIT = 4 << 10
"""More than the longest refusal, in bytes."""
PACKET_LIMIT = ANSWER.size + 8 * ENTRY_LIMIT + MESSAGE_LIMIT
"""Largest answer, in bytes."""
SEND_BUFFER = 256 << 10
"""What the socket's send buffer has to hold: a packet above half of it would be cut in two."""
ENDED = "its process ended, or it detached this driver"
"""How a device is lost whose connection has ended."""
TURN_LIMIT = 64
"""Most answers that are read in one turn of the event loop."""


class RegisterChannel:
    """Sends batches on a connection.

    `lost` is called once, with what happened, when it ends. `line` gets the state of the interrupt
    line with each answer: its sequence, and the pending causes.
    """

    def __init__(
        self,
        connection: socket.socket,
        lost: Callable[[str], None],
        line: Callable[[int, int], None] | None = None,
    ) -> None:
        self._connection = connection
        self._lost = lost
        self._line = line
        self._waiting: deque[tuple[bytes, int, Exchange]] = deque()
        """Packets that found the socket full, with their tags."""
        self._sent: deque[tuple[int, Exchange]] = deque()
        self._tag = 0
        self._loop = asyncio.get_running_loop()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._loop.add_reader(connection, self._receive)

    def submit(self, exchange: Exchange) -> None:
        """Send a batch. Does not wait."""
        self._tag = (self._tag + 1) & 0xFFFF_FFFF
        packet = encode(self._tag, exchange)
        if self._waiting or not self._send(packet):
            if not self._waiting:
                self._loop.add_writer(self._connection, self._resume)
            self._waiting.append((packet, self._tag, exchange))
        else:
            self._sent.append((self._tag, exchange))

    def fail(self, error: VirtmeshError) -> None:
        """Fail every batch without an answer."""
        self.close()
        for _, exchange in self._sent:
            exchange.fail(error.again())
        for _, _, exchange in self._waiting:
            exchange.fail(error.again())
        self._sent.clear()
        self._waiting.clear()

    def close(self) -> None:
        """Stop watching the connection."""
        if self._connection.fileno() >= 0:
            self._loop.remove_reader(self._connection)
            self._loop.remove_writer(self._connection)

    def _send(self, packet: bytes) -> bool:
        """Send a packet. False if the socket is full."""
        try:
            self._connection.send(packet, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError:
            pass  # It has ended. The reader sees that too, and fails what was sent.
        return True

    def _resume(self) -> None:
        """Send packets that found the socket full."""
        while self._waiting:
            packet, tag, exchange = self._waiting[0]
            if not exchange.answer.done():  # Else its caller was cancelled.
                if not self._send(packet):
                    return
                self._sent.append((tag, exchange))
            self._waiting.popleft()
        self._loop.remove_writer(self._connection)

    def _receive(self) -> None:
        """Pass answers to their requests."""
        try:
            for _ in range(TURN_LIMIT):
                packet, flags = receive(self._connection, PACKET_LIMIT)
                if not packet:
                    self._lost(ENDED)
                    return
                self._pass(packet, flags)
        except BlockingIOError:
            pass
        except OSError:
            self._lost(ENDED)
        except BadStream as error:
            self._lost(f"the register channel: {error}")

    def _pass(self, packet: bytes, flags: int) -> None:
        """Pass an answer to the oldest request without one. Errors: BadStream."""
        if flags & socket.MSG_TRUNC:
            raise BadStream(f"it sent an answer of more than {PACKET_LIMIT} bytes")
        tag, answer, sequence, causes = decode(packet)
        if not self._sent or self._sent[0][0] != tag:
            raise BadStream(f"it answered request {tag}, which is not the next one")
        self._sent.popleft()[1].set(answer)
        if self._line is not None:
            self._line(sequence, causes)


def encode(tag: int, exchange: Exchange) -> bytes:
    """Make the packet of a request. Values are cut to 64 bits, and offsets to 32."""
    return REQUEST.pack(tag, len(exchange.batch)) + pack(exchange.batch)


def decode(packet: bytes) -> tuple[int, Answer, int, int]:
    """Parse an answer: tag, answer, sequence and causes of the line. Errors: BadStream."""
    if len(packet) < ANSWER.size:
        raise BadStream(f"an answer of {len(packet)} bytes is shorter than its header")
    tag, count, flags, causes, sequence = ANSWER.unpack_from(packet)
    end = ANSWER.size + 8 * count
    if end > len(packet) or (end < len(packet) and not flags & REFUSED):
        raise BadStream(f"an answer of {len(packet)} bytes does not hold {count} values")
    values = list(struct.unpack_from(f"<{count}Q", packet, ANSWER.size))
    refusal = None
    if flags & REFUSED:
        reason, _, message = packet[end:].decode(errors="replace").partition("\0")
        refusal = Refusal(count, reason, message)
    return tag, Answer(values, refusal), sequence, causes
