"""Packets of GDB's remote serial protocol, parsed from a stream within bounds.

https://sourceware.org/gdb/current/onlinedocs/gdb.html/Overview.html (appendix E.1)
"""

from __future__ import annotations

from dataclasses import dataclass

PACKET_MAX = 0x4000
"""Longest packet, in bytes without `$`, `#` and checksum (PacketSize)."""
INTERRUPT = b"\x03"
"""What a debugger sends for Ctrl-C."""
FIRST = b"+-$" + INTERRUPT
"""What a connection can begin with: an acknowledgement, a packet, an interrupt."""
ESCAPE, ESCAPE_XOR = 0x7D, 0x20


@dataclass(frozen=True)
class Packet:
    """A packet; `is_whole` is False if its checksum is wrong."""

    data: bytes
    is_whole: bool = True


class PacketReader:
    """Cuts a stream into packets and interrupts. Acknowledgements are dropped.

    Errors of `feed`: ValueError for a packet that is too long, and for a connection that does not
    begin as a debugger's.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._begun = False

    def feed(self, data: bytes) -> list[Packet | None]:
        """Return the packets that are complete now; None stands for an interrupt."""
        if data and not self._begun:
            # A web page can have a browser send a request here, with a packet in it.
            if data[0] not in FIRST:
                raise ValueError("this is no debugger: its first byte begins no packet")
            self._begun = True
        self._buffer += data
        found: list[Packet | None] = []
        while self._buffer:
            first = self._buffer[0]
            if first == INTERRUPT[0]:
                found.append(None)
                del self._buffer[0]
            elif first != ord("$"):
                del self._buffer[0]
            else:
                end = self._buffer.find(b"#")
                if end < 0 or len(self._buffer) < end + 3:
                    if len(self._buffer) > PACKET_MAX + 4:
                        raise ValueError(f"a packet of more than {PACKET_MAX} bytes")
                    break
                body, check = bytes(self._buffer[1:end]), bytes(self._buffer[end + 1 : end + 3])
                del self._buffer[: end + 3]
                found.append(Packet(unescape(body), check.lower() == checksum(body)))
        return found


def encode(data: bytes) -> bytes:
    """Make a packet."""
    escaped = bytearray()
    for byte in data:
        if byte in b"#$}*":
            escaped += bytes((ESCAPE, byte ^ ESCAPE_XOR))
        else:
            escaped.append(byte)
    return b"$" + bytes(escaped) + b"#" + checksum(bytes(escaped))


def checksum(body: bytes) -> bytes:
    """Return the checksum of what stands between `$` and `#`, in two digits."""
    return b"%02x" % (sum(body) & 0xFF)


def unescape(body: bytes) -> bytes:
    """Undo the escapes of a packet."""
    if ESCAPE not in body:
        return body
    plain, escaped = bytearray(), False
    for byte in body:
        if escaped:
            plain.append(byte ^ ESCAPE_XOR)
            escaped = False
        elif byte == ESCAPE:
            escaped = True
        else:
            plain.append(byte)
    return bytes(plain)
