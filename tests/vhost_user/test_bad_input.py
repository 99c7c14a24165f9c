"""What front ends do wrong costs them their connection, and nobody else anything.

After each the log says why, and the next front end is served.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import astuple
from pathlib import Path

import pytest

from tests.support.vhost_user.backend import Backend, Reasons, open_descriptors, serve, wait_closed
from tests.support.vhost_user.front_end import (
    WAIT_SECONDS,
    FrontEndRam,
    FrontEndRing,
)
from virtmesh.attach.asyncfd import readable
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.messages import HEADER, ProtocolFeature, Request
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status


def message(
    request: int, payload: bytes = b"", *, flags: int = 1, size: int | None = None
) -> bytes:
    """Return the bytes of a message, whose size may be a lie."""
    return HEADER.pack(request, flags, len(payload) if size is None else size) + payload


def state(index: int, num: int) -> bytes:
    """Return the payload of messages about a ring."""
    return vu.VringState(index, num).pack()


MALFORMED: dict[str, tuple[bytes, str]] = {
    "version": (message(1, flags=2), "flags 0x2"),
    "unknown flag": (message(1, flags=0x11), "flags 0x11"),
    "reply": (message(1, flags=5), "reply to nothing"),
    "unknown message": (message(99), "message 99 is not supported"),
    "huge payload": (message(5, size=1 << 31), "payload of 2147483648 bytes"),
    "short payload": (message(Request.SET_FEATURES, bytes(4)), "payload of 4 bytes"),
    "long payload": (message(Request.GET_FEATURES, bytes(8)), "payload of 8 bytes"),
    "no region": (message(Request.SET_MEM_TABLE, bytes(8)), "0 descriptors"),
    "protocol feature": (message(Request.GET_STATUS), "without STATUS"),
    "ring": (message(Request.SET_VRING_NUM, state(16, 64)), "the device has 16"),
    "huge ring": (message(Request.SET_VRING_NUM, state(1 << 31, 64)), "the device has 16"),
    "size 0": (message(Request.SET_VRING_NUM, state(0, 0)), "0 entries"),
    "size 32769": (message(Request.SET_VRING_NUM, state(0, 32769)), "32769 entries"),
    "size 65536": (message(Request.SET_VRING_NUM, state(0, 65536)), "65536 entries"),
    "enable": (message(Request.SET_VRING_ENABLE, state(0, 2)), "neither 0 nor 1"),
    "dirty log": (
        message(Request.SET_VRING_ADDR, vu.VringAddress(0, 1, 0, 0, 0, 0).pack()),
        "not logged",
    ),
    "features": (message(Request.SET_FEATURES, vu.U64(1 << 63).pack()), "not offered: bit 63"),
    "protocol": (message(Request.SET_PROTOCOL_FEATURES, vu.U64(1 << 1).pack()), "0x2"),
    "kick without descriptor": (message(Request.SET_VRING_KICK, vu.U64(0).pack()), "lacks"),
    "call with other bits": (message(Request.SET_VRING_CALL, vu.U64(1 << 9).pack()), "0x200"),
    "start before features": (
        message(Request.SET_VRING_KICK, vu.U64(vu.INVALID_FD).pack()),
        "before SET_FEATURES",
    ),
}


@pytest.mark.parametrize(("data", "reason"), MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_message_ends_the_connection(
    backend: Backend, reasons: Reasons, data: bytes, reason: str
) -> None:
    """The log says what was wrong with it."""
    async with backend.connected() as front_end:
        front_end.connection.sendall(data)
        assert await front_end.lost()
    assert reason in reasons()
    assert await backend.works()


IMPOSSIBLE: dict[str, tuple[bytes, str]] = {
    "status": (message(Request.SET_STATUS, vu.U64(0x10F).pack()), "0x100 are no bits"),
    "config": (
        message(Request.GET_CONFIG, vu.Config(0, 0, bytes(8)).pack()[:-4]),
        "4 bytes came; its size says 8",
    ),
    "long config": (
        message(Request.SET_CONFIG, vu.Config(0, 0, bytes(257)).pack()),
        "a payload of 269 bytes",
    ),
    "ninth region": (
        message(Request.SET_MEM_TABLE, vu.MemoryTable.LAYOUT.pack(9, 0) + bytes(256)),
        "0 descriptors",
    ),
    "no memory": (message(Request.REM_MEM_REG, bytes(40)), "no memory region"),
    "kick in a message": (message(Request.VRING_KICK, state(0, 0)), "without INBAND_NOTIFICATIONS"),
}


@pytest.mark.parametrize(("data", "reason"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
async def test_a_message_that_can_not_be_meant_ends_the_connection(
    backend: Backend, reasons: Reasons, data: bytes, reason: str
) -> None:
    """Features are agreed on, and still it makes no sense."""
    async with backend.connected() as front_end:
        await front_end.negotiate()
        front_end.connection.sendall(data)
        assert await front_end.lost()
    assert reason in reasons()
    assert await backend.works()


@pytest.mark.parametrize("length", [1, HEADER.size - 1, HEADER.size, HEADER.size + 4])
async def test_a_message_that_is_cut_off_ends_the_connection(
    backend: Backend, reasons: Reasons, length: int
) -> None:
    """The connection ends where a message is not over."""
    async with backend.connected() as front_end:
        data = message(Request.SET_FEATURES, vu.U64(0).pack())
        front_end.connection.sendall(data[:length])
        front_end.connection.shutdown(socket.SHUT_WR)
        assert await front_end.lost()
    assert "before a message did" in reasons()
    assert await backend.works()


async def test_a_message_in_pieces_is_one_message(backend: Backend) -> None:
    """A stream has no borders: a message may come byte by byte."""
    async with backend.connected() as front_end:
        for byte in message(Request.GET_FEATURES):
            front_end.connection.sendall(bytes([byte]))
        assert (await front_end.answer()).request == Request.GET_FEATURES


async def test_a_legacy_driver_can_not_start_a_ring(backend: Backend, reasons: Reasons) -> None:
    """It does not accept VIRTIO_F_VERSION_1."""
    async with backend.ready(without=Feature.VIRTIO_F_VERSION_1) as front_end:
        front_end.post(Request.SET_VRING_KICK, vu.U64(vu.INVALID_FD))
        assert await front_end.lost()
    assert "before SET_FEATURES with VIRTIO_F_VERSION_1: a legacy driver?" in reasons()
    assert "disable-legacy=on" in reasons()
    assert await backend.works()


async def test_in_band_notifications_need_a_way_back(tmp_path: Path, reasons: Reasons) -> None:
    """INBAND_NOTIFICATIONS without BACKEND_REQ and REPLY_ACK is an error by itself."""
    async with serve(tmp_path, in_band=True) as backend:
        async with backend.connected() as front_end:
            alone = vu.U64(ProtocolFeature.INBAND_NOTIFICATIONS)
            front_end.post(Request.SET_PROTOCOL_FEATURES, alone)
            assert await front_end.lost()
        assert "needs BACKEND_REQ and REPLY_ACK" in reasons()
        assert await backend.works()


# -- Descriptors ----------------------------------------------------------------------------------

TABLE = vu.MemoryTable((vu.MemoryRegion(0, 4096, 0, 0),)).pack()
WRONG_COUNTS = [
    (Request.GET_FEATURES, b"", 1),
    (Request.SET_VRING_KICK, vu.U64(0).pack(), 2),
    (Request.SET_MEM_TABLE, TABLE, 2),
    (Request.SET_MEM_TABLE, TABLE, 0),
    (Request.SET_MEM_TABLE, TABLE, 9),
    (Request.ADD_MEM_REG, b"", 0),
    (Request.SET_BACKEND_REQ_FD, b"", 0),
]


@pytest.mark.parametrize(("request_", "payload", "count"), WRONG_COUNTS)
async def test_a_wrong_number_of_descriptors_ends_the_connection(
    backend: Backend, reasons: Reasons, request_: Request, payload: bytes, count: int
) -> None:
    """They are counted, and none of them stays open."""
    before = await open_descriptors(backend)
    async with backend.connected() as front_end:
        await front_end.negotiate()
        front_end.post(request_, payload, [front_end.ram.descriptor] * count)
        assert await front_end.lost()
    assert "descriptors" in reasons()
    await wait_closed(backend, before)


@pytest.mark.parametrize("request_", [Request.SET_VRING_KICK, Request.SET_VRING_CALL])
async def test_a_descriptor_that_is_no_doorbell_ends_the_connection(
    backend: Backend, reasons: Reasons, request_: Request
) -> None:
    """A file is no eventfd."""
    async with backend.ready() as front_end:
        front_end.post(request_, vu.U64(0), [front_end.ram.descriptor])
        assert await front_end.lost()
    assert "memfd" in reasons()
    assert await backend.works()


async def test_requests_need_a_stream_socket(backend: Backend, reasons: Reasons) -> None:
    """SET_BACKEND_REQ_FD with anything else ends the connection."""
    async with backend.ready() as front_end:
        front_end.post(Request.SET_BACKEND_REQ_FD, b"", [front_end.ram.descriptor])
        assert await front_end.lost()
    assert "no unix stream socket" in reasons()
    assert await backend.works()


# -- Memory ---------------------------------------------------------------------------------------


async def test_a_ring_without_shared_memory_ends_the_connection(
    backend: Backend, reasons: Reasons
) -> None:
    """A front end that shares none can't start a ring."""
    async with backend.connected() as front_end:
        await front_end.negotiate()
        front_end.post(Request.SET_VRING_NUM, vu.VringState(0, 64))
        front_end.post(Request.SET_VRING_KICK, vu.U64(vu.INVALID_FD))
        assert await front_end.lost()
    assert "memory" in reasons()
    assert await backend.works()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 0}, "empty"),
        ({"size": 1 << 40}, "needs a file"),
        ({"size": (1 << 64) - 4096, "user_address": 0}, "--guest-memory-max"),
        ({"guest_address": (1 << 64) - 4096}, "too large"),
        ({"guest_address": 1}, "not a multiple of 4096"),
        ({"mmap_offset": (1 << 64) - 4096}, "too large"),
        ({"user_address": (1 << 64) - 4096}, "overlap at the user address"),
    ],
)
async def test_a_region_that_can_not_be_ends_the_connection(
    backend: Backend, reasons: Reasons, change: dict[str, int], reason: str
) -> None:
    """Addresses, sizes and offsets are checked before anything is mapped."""
    async with backend.connected() as front_end:
        await front_end.negotiate()
        region = vu.MemoryRegion(**{**vars(front_end.ram.region), **change})
        table = vu.MemoryTable((region,))
        front_end.post(Request.SET_MEM_TABLE, table, [front_end.ram.descriptor])
        assert await front_end.lost()
    assert reason in reasons()
    assert await backend.works()


async def test_regions_that_overlap_end_the_connection(backend: Backend, reasons: Reasons) -> None:
    """By guest address or by user address."""
    other = FrontEndRam(user_address=1 << 40)
    async with backend.ready() as front_end:
        region = vu.SingleRegion(0, *astuple(other.region))
        front_end.post(Request.ADD_MEM_REG, region, [other.descriptor])
        assert await front_end.lost()
    other.close()
    assert "overlap" in reasons()
    assert await backend.works()


async def test_removing_a_region_that_is_not_there_ends_the_connection(
    backend: Backend, reasons: Reasons
) -> None:
    """It is named by addresses and size."""
    async with backend.ready() as front_end:
        front_end.post(Request.REM_MEM_REG, vu.SingleRegion(0, 0, 4096, 0, 0))
        assert await front_end.lost()
    assert "can be removed" in reasons()
    assert await backend.works()


async def test_a_file_that_becomes_shorter_ends_the_connection(
    backend: Backend, reasons: Reasons
) -> None:
    """The device touches memory that is gone: SIGBUS does not kill the service."""
    async with backend.driven() as (front_end, ring):
        os.ftruncate(front_end.ram.descriptor, 0)
        os.eventfd_write(ring.kick, 1)
        assert await front_end.lost()
    assert "made shorter" in reasons()
    assert await backend.works()


async def test_a_ring_outside_of_memory_ends_the_connection(
    backend: Backend, reasons: Reasons
) -> None:
    """Its parts have to lie in a region to their ends."""
    async with backend.ready() as front_end:
        end = front_end.ram.user_address + front_end.ram.size
        areas = vu.VringAddress(0, 0, end - 16, end - 4, end - 64, 0)
        front_end.post(Request.SET_VRING_NUM, vu.VringState(0, 64))
        front_end.post(Request.SET_VRING_ADDR, areas)
        front_end.post(Request.SET_VRING_ENABLE, vu.VringState(0, 1))
        front_end.post(Request.SET_VRING_KICK, vu.U64(vu.INVALID_FD))
        assert await front_end.lost()
    assert "ring 0 can't run" in reasons()
    assert await backend.works()


@pytest.mark.parametrize(("size", "base"), [(3, 0), (64, 1 << 16)], ids=["size", "base"])
async def test_a_split_ring_that_can_not_be_ends_the_connection(
    backend: Backend, reasons: Reasons, size: int, base: int
) -> None:
    """Its size is a power of two, and its base has 16 bits."""
    async with backend.ready(without=Feature.VIRTIO_F_RING_PACKED) as front_end:
        areas = FrontEndRing.make(0, front_end.ram, 64, front_end.features).areas
        front_end.post(Request.SET_VRING_NUM, vu.VringState(0, size))
        front_end.post(Request.SET_VRING_BASE, vu.VringState(0, base))
        front_end.post(Request.SET_VRING_ADDR, areas)
        front_end.post(Request.SET_VRING_ENABLE, vu.VringState(0, 1))
        front_end.post(Request.SET_VRING_KICK, vu.U64(vu.INVALID_FD))
        assert await front_end.lost()
    assert "ring 0 can't run" in reasons()
    assert await backend.works()


@pytest.mark.parametrize("without", [0, Feature.VIRTIO_F_RING_PACKED], ids=["packed", "split"])
async def test_a_ring_of_one_entry_is_too_short_for_requests_and_breaks(
    backend: Backend, without: int
) -> None:
    """A request has at least two buffers, and no chain is longer than its ring."""
    async with backend.driven(size=1, without=without) as (front_end, ring):
        assert ring.queue.add([(front_end.ram.allocate(16), 16)], []) is not None
        ring.notify()
        async with asyncio.timeout(WAIT_SECONDS):
            await readable(ring.error)
        assert await front_end.ask_u64(Request.GET_STATUS) & Status.DEVICE_NEEDS_RESET
    assert await backend.works()


# -- Order ----------------------------------------------------------------------------------------


async def test_a_ring_can_not_go_on_without_features(backend: Backend, reasons: Reasons) -> None:
    """What was agreed on for it is no more."""
    async with backend.driven() as (front_end, _):
        await front_end.tell(Request.SET_VRING_ENABLE, vu.VringState(0, 0))
        await front_end.tell(Request.SET_FEATURES, vu.U64(vu.VHOST_USER_F_PROTOCOL_FEATURES))
        front_end.post(Request.SET_VRING_ENABLE, vu.VringState(0, 1))
        assert await front_end.lost()
    assert "before SET_FEATURES" in reasons()
    assert await backend.works()


STARTED = {
    "features": (Request.SET_FEATURES, None, "the features change"),
    "protocol": (Request.SET_PROTOCOL_FEATURES, vu.U64(0), "a ring is started"),
    "size": (Request.SET_VRING_NUM, vu.VringState(0, 32), "size can't change"),
    "base": (Request.SET_VRING_BASE, vu.VringState(0, 1), "base can't change"),
    "place": (Request.SET_VRING_ADDR, vu.VringAddress(0, 0, 0, 0, 0, 0), "can't move"),
}


@pytest.mark.parametrize(("request_", "payload", "reason"), STARTED.values(), ids=STARTED.keys())
async def test_what_may_not_change_while_a_ring_is_started_ends_the_connection(
    backend: Backend, reasons: Reasons, request_: Request, payload: vu.Payload | None, reason: str
) -> None:
    """A ring is stopped first."""
    async with backend.driven() as (front_end, _):
        fewer = vu.U64(front_end.features & ~int(Feature.VIRTIO_F_EVENT_IDX))
        front_end.post(request_, payload or fewer)
        assert await front_end.lost()
    assert reason in reasons()
    assert await backend.works()


async def test_a_part_of_the_configuration_beyond_its_end_ends_the_connection(
    backend: Backend, reasons: Reasons
) -> None:
    """It has 256 bytes at most."""
    async with backend.ready() as front_end:
        front_end.post(Request.GET_CONFIG, vu.Config(0xFFFF_FFFF, 0, bytes(4)))
        assert await front_end.lost()
    assert "configuration space of 256" in reasons()
    assert await backend.works()
