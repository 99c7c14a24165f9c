"""virtmesh_native.BlkDevice: the binding; the data path itself is tested in native/blk."""

from __future__ import annotations

import gc
import os
import struct
import threading
from typing import TYPE_CHECKING

import pytest
from virtmesh_native import BlkDevice, Interrupt

from tests.support.native_rig import (
    BASE,
    DISCARD,
    FLUSH,
    GET_ID,
    IN,
    OUT,
    WAIT_SECONDS,
    WRITE_ZEROES,
    NativeRig,
    is_readable,
    make_config,
    make_eventfd,
    make_memory,
)
from virtmesh_common.blk.errors import (
    BadSize,
    BlockReadOnly,
    ImageError,
    ImageLocked,
    ImageNotFound,
)
from virtmesh_common.errors import BadDoorbell, DriverViolation, NoSuchQueue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMAGE_SIZE = 1 << 20
OK, IOERR, UNSUPP = 0, 1, 2


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Make an image of 1 MiB of ones."""
    path = tmp_path / "disk.img"
    path.write_bytes(b"\1" * IMAGE_SIZE)
    return path


@pytest.fixture
def rig(image: Path) -> Iterator[NativeRig]:
    """Serve the image to a driver."""
    rig = NativeRig(BlkDevice(str(image), serial="disk-7"))
    yield rig
    rig.close()


def test_requests_reach_the_image(rig: NativeRig, image: Path) -> None:
    """Write, read, identify, zero, discard, flush."""
    block = bytes(range(256)) * 2
    assert rig.ask(OUT, 3, block) == (OK, b"")
    assert rig.ask(IN, 3, room=512) == (OK, block)
    assert rig.ask(GET_ID, room=20) == (OK, b"disk-7".ljust(20, b"\0"))
    assert rig.ask(WRITE_ZEROES, data=struct.pack("<QII", 4, 1, 0)) == (OK, b"")
    assert rig.ask(DISCARD, data=struct.pack("<QII", 9, 1, 0)) == (OK, b"")
    assert rig.ask(FLUSH) == (OK, b"")
    assert image.read_bytes()[3 * 512 : 5 * 512] == block + bytes(512)


def test_requests_are_counted_by_type_and_outcome(rig: NativeRig) -> None:
    """(ok, io_errors, unsupported, bytes, busy_us)."""
    rig.ask(IN, room=1024)
    rig.ask(IN, 2**60, room=512)
    rig.ask(77)
    stats = rig.disk.stats()
    assert set(stats) == {"IN", "OUT", "FLUSH", "GET_ID", "DISCARD", "WRITE_ZEROES", "OTHER"}
    assert stats["IN"][:4] == (1, 1, 0, 1024)
    assert stats["OTHER"][:4] == (0, 0, 1, 0)
    assert rig.disk.malformed == 0


def test_every_completed_request_is_in_one_latency_bucket(rig: NativeRig) -> None:
    """By type, whatever its outcome; there is one bucket more than there are bounds."""
    rig.ask(IN, room=1024)
    rig.ask(IN, 2**60, room=512)
    rig.ask(FLUSH)

    latencies = rig.disk.latencies()

    assert {len(buckets) for buckets in latencies.values()} == {len(BlkDevice.latency_bounds) + 1}
    assert {kind: sum(buckets) for kind, buckets in latencies.items() if any(buckets)} == {
        "IN": 2,
        "FLUSH": 1,
    }


def test_features_that_were_not_negotiated_are_unsupported(rig: NativeRig) -> None:
    """activate() says which were."""
    rig.disk.activate(0)
    assert rig.ask(DISCARD, data=struct.pack("<QII", 0, 1, 0)) == (UNSUPP, b"")


def test_read_only_can_be_set_and_cleared(rig: NativeRig) -> None:
    """From the next request on."""
    rig.disk.read_only = True
    assert rig.ask(OUT, data=bytes(512)) == (IOERR, b"")
    rig.disk.read_only = False
    assert rig.ask(OUT, data=bytes(512)) == (OK, b"")


def test_write_through_flushes_each_write(rig: NativeRig) -> None:
    """And write-back leaves that to the driver."""
    rig.ask(OUT, data=bytes(512))
    assert (rig.disk.write_back, rig.disk.flushes) == (True, 0)
    rig.disk.write_back = False
    rig.ask(OUT, data=bytes(512))
    assert rig.disk.flushes == 1


def test_a_resize_moves_the_end(rig: NativeRig) -> None:
    """Requests up to the new end are served."""
    assert rig.ask(IN, IMAGE_SIZE // 512, room=512)[0] == IOERR
    rig.disk.resize(2 * IMAGE_SIZE)
    assert rig.disk.capacity == 2 * IMAGE_SIZE
    assert rig.ask(IN, IMAGE_SIZE // 512, room=512) == (OK, bytes(512))
    with pytest.raises(BadSize) as caught:
        rig.disk.resize(1000)
    assert caught.value.metadata == {"size_bytes": "1000"}


def test_an_image_cut_off_under_the_disk_is_not_grown(rig: NativeRig, image: Path) -> None:
    """Requests behind its end fail and are counted."""
    os.truncate(image, 4096)
    assert rig.ask(OUT, 8, bytes(512)) == (IOERR, b"")
    assert image.stat().st_size == 4096
    assert rig.disk.truncated == 1


def test_a_kick_by_hand_serves_the_queue(image: Path) -> None:
    """QueueNotify and the Notify RPC need no eventfd."""
    rig = NativeRig(BlkDevice(str(image)), by_eventfd=False)
    assert rig.ask(IN, room=512) == (OK, b"\1" * 512)
    assert rig.ask(IN, room=512) == (OK, b"\1" * 512)
    assert rig.disk.notifications == 0
    rig.close()


def test_a_broken_ring_is_a_fault_and_stops_the_queue(rig: NativeRig) -> None:
    """The device asks for a reset by a configuration change interrupt."""
    config_call = make_eventfd()
    rig.interrupt.set_config_call(config_call)
    rig.memory.write(BASE + 0x1002, b"\xff\xff")
    os.eventfd_write(rig.kick, 1)
    assert is_readable(config_call, WAIT_SECONDS)
    assert rig.disk.join(0, WAIT_SECONDS)
    assert (rig.interrupt.fault or "").startswith("queue 0: ")
    os.close(config_call)


def test_joining_releases_the_gil(rig: NativeRig) -> None:
    """Other threads run while one waits for a queue to stop."""
    joined = threading.Event()

    def join() -> None:
        assert rig.disk.join(0, WAIT_SECONDS)
        joined.set()

    thread = threading.Thread(target=join)
    thread.start()
    rig.disk.request_stop(0)
    assert joined.wait(WAIT_SECONDS)
    thread.join()
    assert rig.disk.is_stopped(0)


def test_a_stopped_queue_starts_again_and_a_running_one_does_not(rig: NativeRig) -> None:
    """Starting it twice is the caller's mistake."""
    with pytest.raises(ValueError, match="not stopped"):
        rig.start()
    rig.disk.request_stop(0)
    assert rig.disk.join(0, WAIT_SECONDS)
    rig.start()


def test_queues_that_cannot_be_served_are_refused(rig: NativeRig) -> None:
    """Bad areas, bad doorbells, bad indexes."""
    memory, interrupt = make_memory(), Interrupt()
    with pytest.raises(DriverViolation):
        rig.disk.start_queue(1, memory, make_config(device_area=0), interrupt, None)
    with pytest.raises(BadDoorbell):
        rig.disk.start_queue(1, memory, make_config(), interrupt, -1)
    with pytest.raises(NoSuchQueue):
        rig.disk.start_queue(64, memory, make_config(), interrupt, None)
    with pytest.raises(OverflowError):
        rig.disk.start_queue(-1, memory, make_config(), interrupt, None)


def test_a_queue_that_never_ran_is_stopped(rig: NativeRig) -> None:
    """And everything one can do to it does nothing."""
    rig.disk.kick(9)
    rig.disk.request_stop(9)
    assert rig.disk.join(9, WAIT_SECONDS)
    assert rig.disk.is_stopped(9)


def test_closing_stops_the_queues_and_releases_the_image(rig: NativeRig, image: Path) -> None:
    """A second disk can have it then; the closed one says that it is closed."""
    with pytest.raises(ImageLocked, match=r"in use by .+ \(pid \d+\)"):
        BlkDevice(str(image))
    rig.disk.close()
    rig.disk.close()
    BlkDevice(str(image)).close()
    rig.disk.kick(0)
    assert rig.disk.is_stopped(0)
    with pytest.raises(ValueError, match="closed"):
        rig.disk.flush()


def test_a_disk_that_is_forgotten_releases_its_image(image: Path) -> None:
    """Even while its queue runs."""
    rig = NativeRig(BlkDevice(str(image)))
    os.close(rig.kick)
    os.close(rig.call)
    del rig
    gc.collect()
    BlkDevice(str(image)).close()


def test_readers_share_an_image(image: Path) -> None:
    """And can't be made to write it."""
    first = BlkDevice(str(image), read_only=True)
    second = BlkDevice(str(image), read_only=True)
    assert (first.read_only, first.image_read_only, first.is_block_node) == (True, True, False)
    with pytest.raises(BlockReadOnly):
        second.read_only = False
    with pytest.raises(BlockReadOnly):
        second.resize(2 * IMAGE_SIZE)
    first.close()
    second.close()


def test_images_that_cannot_be_used_are_named(tmp_path: Path, image: Path) -> None:
    """Each with its own class, and the path in the message."""
    with pytest.raises(ImageNotFound, match=r"missing\.img: no such image"):
        BlkDevice(str(tmp_path / "missing.img"))
    with pytest.raises(ImageError, match="a directory"):
        BlkDevice(str(tmp_path))
    os.truncate(image, 1000)
    with pytest.raises(BadSize, match="truncate -s 1024") as caught:
        BlkDevice(str(image))
    assert caught.value.metadata == {"size_bytes": "1000"}


@pytest.mark.parametrize(
    "options",
    [
        {"serial": "x" * 21},
        {"serial": "caf\u00e9"},
        {"serial": "a\nb"},
        {"block_size": 0},
        {"block_size": 256},
        {"block_size": 1000},
        {"threads": 0},
        {"threads": 1 << 40},
    ],
)
def test_options_that_make_no_sense_are_refused(image: Path, options: dict[str, object]) -> None:
    """The image is not kept locked."""
    with pytest.raises(ValueError, match="give"):
        BlkDevice(str(image), **options)  # type: ignore[arg-type]
    BlkDevice(str(image)).close()


def test_allocated_counts_what_the_image_takes(tmp_path: Path) -> None:
    """A sparse image takes less than its capacity."""
    path = tmp_path / "sparse.img"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    disk = BlkDevice(str(path))
    assert (disk.capacity, disk.allocated < 1 << 20) == (64 << 20, True)
    disk.close()
