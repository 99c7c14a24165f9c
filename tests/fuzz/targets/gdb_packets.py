"""Bytes of a debugger, up to its packets."""

from __future__ import annotations

from contextlib import suppress

from tests.fuzz.target import stateless
from virtmesh.cpu.gdb.packets import PACKET_MAX, PacketReader, encode, unescape


def run(data: bytes) -> None:
    """Cut a stream into packets, in pieces and at once: the same packets come, within bounds."""
    cut = 1 + (data[0] if data else 0)
    stream = data[1:]
    found, whole = [], []
    with suppress(ValueError):
        reader = PacketReader()
        for start in range(0, len(stream), cut):
            found += reader.feed(stream[start : start + cut])
    with suppress(ValueError):
        whole = PacketReader().feed(stream)
    assert found == whole
    for packet in found:
        if packet is not None:
            assert len(packet.data) <= max(PACKET_MAX, len(stream))
            assert PacketReader().feed(encode(packet.data))[0] == packet or not packet.is_whole
    assert unescape(stream) is not None


def seeds() -> list[bytes]:
    """Return what gdb says first."""
    said = [b"qSupported:multiprocess+", b"g", b"m80000000,40", b"vCont;c", b"X1,1:}\x03"]
    return [b"\x05+" + b"+".join(encode(one) for one in said) + b"\x03"]


TARGET = stateless(run, seeds)
