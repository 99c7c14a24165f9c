"""Front ends that say anything, in any order: the device is ready for the next one all the same.

A conversation that is right is changed here and there. `make fuzz` takes many more of them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support.vhost_user.backend import Backend, open_descriptors, serve, wait_closed
from tests.support.vhost_user.front_end import (
    PROTOCOL,
    RAM_ADDRESS,
    RAM_SIZE,
    USER_ADDRESS,
    VhostFrontEnd,
)
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.framing import DESCRIPTORS_MAX
from virtmesh.vhost_user.messages import FLAGS, HEADER, SHAPES, Request
from virtmesh_common.blk.spec import BlkFeature
from virtmesh_common.virtio.features import Feature

SECONDS = 30.0
"""How long a conversation may take."""
SIZE = 8
"""Entries of the ring."""
DESCRIPTORS, DRIVER_AREA, DEVICE_AREA = 0, 0x1000, 0x2000
"""Where the parts of the ring are in the memory."""
RING_BYTES = 0x3000
EDGES = (0, 1, 2, 3, 7, 8, 9, 63, 64, 255, 256, 1023, 1024, 4095, 4096, 32767, 32768, 32769, 65535)
CORNERS = tuple(
    place + near
    for place in (RAM_ADDRESS, RAM_ADDRESS + RAM_SIZE, USER_ADDRESS, USER_ADDRESS + RAM_SIZE)
    for near in (-1, 0, 1, 8)
)
NUMBERS = (*EDGES, *CORNERS, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1)
"""Where mistakes are made."""
DESCRIPTOR_FLAGS = (0, 1, 2, 3, 4, 5, 6, 0x80, 0x81, 0x82, 0x83, 0x84, 0x8080, 0xFFFF)
"""NEXT, WRITE and INDIRECT (virtio 1.4, 2.7.5), AVAIL and USED of packed rings (2.8.1)."""
OFFERED = (
    vu.VHOST_USER_F_PROTOCOL_FEATURES
    | Feature.VIRTIO_F_VERSION_1
    | Feature.VIRTIO_F_RING_PACKED
    | Feature.VIRTIO_F_EVENT_IDX
    | Feature.VIRTIO_F_INDIRECT_DESC
    | BlkFeature.VIRTIO_BLK_F_FLUSH
    | BlkFeature.VIRTIO_BLK_F_CONFIG_WCE
)
FILES = ("ram", "small", "eventfd", "pipe", "socket", "null", "folder")
"""What a descriptor may be of."""


@dataclass(frozen=True)
class Said:
    """One message. `length` is what its header says, if that is not true."""

    request: int
    payload: bytes = b""
    files: tuple[str, ...] = ()
    flags: int = vu.VERSION
    length: int | None = None

    @property
    def data(self) -> bytes:
        """The bytes on the wire."""
        length = len(self.payload) if self.length is None else self.length
        return HEADER.pack(self.request, self.flags, length) + self.payload


def said(request: Request, payload: vu.Payload | None = None, *files: str) -> Said:
    """Make a message that is right."""
    return Said(request, payload.pack() if payload else b"", files)


def conversation(features: int) -> list[Said]:
    """Return what a front end says that drives one ring, lets go of it, and looks around."""
    ring, index = vu.VringState(0, SIZE), vu.U64(0)
    at = USER_ADDRESS
    areas = vu.VringAddress(0, 0, at + DESCRIPTORS, at + DEVICE_AREA, at + DRIVER_AREA, 0)
    region = vu.MemoryRegion(RAM_ADDRESS, RAM_SIZE, USER_ADDRESS, 0)
    other = vu.SingleRegion(0, RAM_ADDRESS + RAM_SIZE, 4096, USER_ADDRESS + RAM_SIZE, 0)
    packed = features & Feature.VIRTIO_F_RING_PACKED
    return [
        said(Request.SET_OWNER),
        said(Request.GET_FEATURES),
        said(Request.GET_PROTOCOL_FEATURES),
        said(Request.SET_PROTOCOL_FEATURES, vu.U64(PROTOCOL)),
        said(Request.SET_BACKEND_REQ_FD, None, "socket"),
        said(Request.SET_FEATURES, vu.U64(features)),
        said(Request.GET_QUEUE_NUM),
        said(Request.GET_MAX_MEM_SLOTS),
        said(Request.GET_INFLIGHT_FD, vu.Inflight(0, 0, 2, 64)),
        said(Request.SET_INFLIGHT_FD, vu.Inflight(8192, 0, 2, 64), "small"),
        said(Request.SET_MEM_TABLE, vu.MemoryTable((region,)), "ram"),
        said(Request.ADD_MEM_REG, other, "small"),
        said(Request.SET_STATUS, vu.U64(0b0011)),
        said(Request.SET_VRING_NUM, ring),
        said(Request.SET_VRING_BASE, vu.VringState(0, 0x8000_8000 if packed else 0)),
        said(Request.SET_VRING_ADDR, areas),
        said(Request.SET_VRING_CALL, index, "eventfd"),
        said(Request.SET_VRING_ERR, index, "eventfd"),
        said(Request.SET_VRING_KICK, index, "kick"),
        said(Request.SET_VRING_ENABLE, vu.VringState(0, 1)),
        said(Request.GET_CONFIG, vu.Config(0, 0, bytes(60))),
        said(Request.SET_CONFIG, vu.Config(32, 0, b"\0")),
        said(Request.GET_STATUS),
        said(Request.REM_MEM_REG, other),
        said(Request.GET_VRING_BASE, vu.VringState(0, 0)),
        said(Request.RESET_DEVICE),
        said(Request.RESET_OWNER),
    ]


def to_u32(number: int) -> int:
    """Cut a number to 32 bits."""
    return number & 0xFFFF_FFFF


numbers = st.sampled_from(NUMBERS) | st.integers(0, (1 << 64) - 1)
files = st.lists(st.sampled_from(FILES), max_size=DESCRIPTORS_MAX + 1).map(tuple)


@st.composite
def any_message(draw: st.DrawFn) -> Said:
    """Make a message of the right size, with any numbers, or one of any bytes."""
    request = draw(st.sampled_from(list(Request)))
    layout = SHAPES[request].payload.LAYOUT
    words = draw(st.lists(numbers, min_size=5, max_size=5))
    payload = struct.pack("=5Q", *words)[: layout.size].ljust(layout.size, b"\0")
    payload = draw(st.just(payload) | st.binary(max_size=vu.PAYLOAD_LIMIT + 1))
    flags = draw(st.sampled_from([vu.VERSION, vu.VERSION | vu.NEED_REPLY]) | st.integers(0, FLAGS))
    length = draw(st.none() | st.sampled_from([0, 1, vu.PAYLOAD_LIMIT, 1 << 31]))
    code = to_u32(draw(st.just(int(request)) | numbers))
    return Said(code, payload, draw(files), flags, length)


@st.composite
def with_another_number(draw: st.DrawFn, message: Said) -> Said:
    """Change a piece of a payload: 4 or 8 bytes."""
    width, number = draw(st.sampled_from([4, 8])), draw(numbers)
    if len(message.payload) < width:
        return replace(message, flags=vu.VERSION | vu.NEED_REPLY)
    start = draw(st.integers(0, len(message.payload) // width - 1)) * width
    piece = (number % (1 << 8 * width)).to_bytes(width, "little")
    return replace(
        message, payload=message.payload[:start] + piece + message.payload[start + width :]
    )


@st.composite
def conversations(draw: st.DrawFn) -> list[Said]:
    """Make a conversation that was right, with up to five changes."""
    withheld = draw(st.sampled_from([0, int(Feature.VIRTIO_F_RING_PACKED)]))
    messages = conversation(int(OFFERED) & ~withheld)
    for _ in range(draw(st.integers(0, 5))):
        place = draw(st.integers(0, len(messages) - 1))
        chosen = messages[draw(st.integers(0, len(messages) - 1))]
        change = draw(st.sampled_from(["number", "other", "again", "drop", "files", "cut"]))
        if change == "number":
            messages[place] = draw(with_another_number(messages[place]))
        elif change == "other":
            messages.insert(place, draw(any_message()))
        elif change == "again":
            messages.insert(place, chosen)
        elif change == "drop" and len(messages) > 1:
            del messages[place]
        elif change == "files":
            messages[place] = replace(messages[place], files=draw(files))
        elif change == "cut":
            messages[place:] = messages[place : place + 1]
    return messages


@st.composite
def rings(draw: st.DrawFn) -> bytes:
    """Make what is in the ring: its descriptors, split or packed, and what is available."""
    chains = st.tuples(
        numbers, numbers.map(to_u32), st.sampled_from(DESCRIPTOR_FLAGS), st.integers(0, SIZE)
    )
    table = b"".join(
        struct.pack("=QIHH", address, length, *draw(st.permutations([flags, following])))
        for address, length, flags, following in draw(st.lists(chains, max_size=SIZE))
    )
    available = st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, SIZE + 1))
    heads = draw(st.lists(st.integers(0, SIZE), max_size=SIZE))
    area = struct.pack(f"=HH{len(heads)}H", *draw(available), *heads)
    return table.ljust(DRIVER_AREA, b"\0") + area


@contextmanager
def opened(front_end: VhostFrontEnd, kick: int) -> Iterator[dict[str, int]]:
    """Open one descriptor of each kind."""
    with ExitStack() as undo:

        def closing(descriptor: int) -> int:
            undo.callback(os.close, descriptor)
            return descriptor

        small = closing(os.memfd_create("small"))
        os.ftruncate(small, 8192)
        reading, _ = map(closing, os.pipe())
        ours, theirs = socket.socketpair()
        undo.enter_context(ours)
        undo.enter_context(theirs)
        yield {
            "ram": front_end.ram.descriptor,
            "small": small,
            "eventfd": closing(os.eventfd(0, os.EFD_NONBLOCK)),
            "kick": kick,
            "pipe": reading,
            "socket": theirs.fileno(),
            "null": closing(os.open(os.devnull, os.O_RDWR)),
            "folder": closing(os.open("/", os.O_RDONLY)),
        }


async def talk(front_end: VhostFrontEnd, messages: Sequence[Said], ring: bytes) -> None:
    """Say everything, kick meanwhile, and listen until the back end has nothing more to say."""
    kick = os.eventfd(1, os.EFD_NONBLOCK)
    front_end.ram.memory.write(RAM_ADDRESS, ring.ljust(RING_BYTES, b"\0"))
    connection = front_end.connection
    with opened(front_end, kick) as descriptors, suppress(ConnectionError):
        for message in messages:
            given = [descriptors[name] for name in message.files]
            socket.send_fds(connection, [message.data], given)
        connection.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(SECONDS):
            while await asyncio.get_running_loop().sock_recv(connection, 1 << 16):
                pass
    os.close(kick)


async def survives(backend: Backend, messages: Sequence[Said], ring: bytes) -> None:
    """Let a front end talk: the next one gets a disk that works, and no fault was met."""
    with capture_logs() as entries:
        async with backend.connected() as front_end:
            await talk(front_end, messages, ring)
        assert await backend.works()
    assert [entry for entry in entries if entry["log_level"] in {"error", "critical"}] == []


def test_the_next_front_end_finds_a_disk_that_works(tmp_path: Path) -> None:
    """Whatever the one before said; and no descriptor is left behind."""
    with asyncio.Runner() as runner:
        undo = AsyncExitStack()
        backend = runner.run(undo.enter_async_context(serve(tmp_path)))
        before = runner.run(open_descriptors(backend))

        @given(messages=conversations(), ring=rings())
        def play(messages: Sequence[Said], ring: bytes) -> None:
            runner.run(survives(backend, messages, ring))

        play()
        runner.run(wait_closed(backend, before))
        runner.run(undo.aclose())


def test_the_conversation_that_is_changed_is_right(tmp_path: Path) -> None:
    """Said as it stands it is not refused, or the changes would prove little."""

    async def play() -> None:
        async with serve(tmp_path) as backend, backend.connected() as front_end:
            await talk(front_end, conversation(int(OFFERED)), b"")

    with capture_logs() as entries:
        asyncio.run(play())

    assert [entry for entry in entries if "reason" in entry] == []
