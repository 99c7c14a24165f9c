"""virtmesh_native.DriverQueue against virtmesh_native.DeviceQueue."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest
from virtmesh_native import DeviceQueue, DriverQueue, GuestMemory, QueueConfig

from tests.support.native_rig import BASE, DATA, QUEUE_SIZE, SIZE, make_config, make_memory
from virtmesh_common.errors import DriverViolation, RingCorrupt

AVAIL_IDX = BASE + 0x1002
USED_IDX = BASE + 0x2002
USED_ELEMENTS = BASE + 0x2004
LAST_OF_DESCRIPTOR = struct.Struct("<HH")
"""Buffer ID and flags of a packed descriptor (2.8.13), from byte 12 of it on."""
AVAILABLE, USED = 0x0080, 0x8080
"""Flags in the first lap of a packed ring (2.8.1)."""
KINDS = pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])


class Pair:
    """Both sides of one queue."""

    def __init__(self, *, packed: bool) -> None:
        self.memory: GuestMemory = make_memory()
        config = make_config(packed=packed)
        self.packed = packed
        self.driver = DriverQueue(self.memory, config)
        self.device = DeviceQueue(self.memory, config)


@pytest.fixture(params=[False, True], ids=["split", "packed"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Make both sides of a queue of 16."""
    return Pair(packed=request.param)


def test_a_chain_goes_there_and_back(pair: Pair) -> None:
    """The device sees the buffers as they were added, the driver what the device wrote."""
    token = pair.driver.add([(DATA, 16), (DATA + 16, 512)], [(DATA + 1024, 1)])
    assert token is not None
    assert pair.device.pop() == (token, [(DATA, 16), (DATA + 16, 512)], [(DATA + 1024, 1)])
    assert pair.device.pop() is None
    pair.device.push(token, 1)
    assert pair.driver.can_pop()
    assert pair.driver.pop_used() == [(token, 1)]
    assert (pair.driver.pop_used(), pair.driver.in_flight, pair.driver.free) == ([], 0, QUEUE_SIZE)


def test_a_full_queue_adds_nothing(pair: Pair) -> None:
    """Adding returns None, and works again after a chain came back."""
    tokens = [pair.driver.add([(DATA, 1)], []) for _ in range(QUEUE_SIZE)]
    assert len(set(tokens)) == QUEUE_SIZE
    assert (pair.driver.add([(DATA, 1)], []), pair.driver.free) == (None, 0)
    head, _, _ = pair.device.pop() or (0, [], [])
    pair.device.push(head, 0)
    assert pair.driver.pop_used() == [(head, 0)]
    assert pair.driver.add([(DATA, 1)], []) == head


def test_pop_used_takes_as_many_as_asked(pair: Pair) -> None:
    """The rest stays for the next call."""
    for _ in range(3):
        pair.driver.add([(DATA, 1)], [])
        head, _, _ = pair.device.pop() or (0, [], [])
        pair.device.push(head, 0)
    assert [len(pair.driver.pop_used(limit)) for limit in (0, 2, 256)] == [0, 2, 1]


def test_notifications_are_asked_for_and_suppressed(pair: Pair) -> None:
    """EVENT_IDX: one notification after the device enabled them."""
    pair.driver.add([(DATA, 1)], [])
    assert pair.driver.should_notify()
    pair.device.pop()
    pair.device.disable_notifications()
    pair.driver.add([(DATA, 1)], [])
    assert not pair.driver.should_notify()
    assert pair.device.enable_notifications()
    pair.device.pop()
    assert not pair.device.enable_notifications()
    pair.driver.add([(DATA, 1)], [])
    assert pair.driver.should_notify()


def test_interrupts_are_asked_for_and_suppressed(pair: Pair) -> None:
    """EVENT_IDX: one interrupt after the driver enabled them."""
    heads = [pair.driver.add([(DATA, 1)], []) for _ in range(3)]
    for _ in heads:
        pair.device.pop()
    pair.driver.disable_interrupts()
    pair.device.push(heads[0] or 0, 0)
    assert not pair.device.needs_interrupt()
    assert pair.driver.enable_interrupts()
    pair.driver.pop_used()
    assert not pair.driver.enable_interrupts()
    pair.device.push(heads[1] or 0, 0)
    assert pair.device.needs_interrupt()


@pytest.mark.parametrize(
    ("readable", "writable"),
    [
        ([], []),
        ([(DATA, 0)], []),
        ([(DATA, 1)], [(DATA, 0)]),
        ([(BASE - 1, 1)], []),
        ([(BASE + SIZE - 1, 2)], []),
        ([(2**64 - 1, 2)], []),
        ([(DATA, 1)] * (QUEUE_SIZE + 1), []),
    ],
)
def test_a_chain_that_makes_no_sense_is_refused(
    pair: Pair, readable: list[tuple[int, int]], writable: list[tuple[int, int]]
) -> None:
    """Nothing is added, and the queue stays usable."""
    with pytest.raises(ValueError, match=r"chain|buffer"):
        pair.driver.add(readable, writable)
    assert pair.device.pop() is None
    assert pair.driver.add([(DATA, 1)], []) is not None


def test_numbers_and_lists_beyond_all_limits_are_refused(pair: Pair) -> None:
    """They don't wrap around, and an endless list is not read to its end."""
    for piece in ((2**64, 1), (DATA, 2**32), (DATA, -1)):
        with pytest.raises(OverflowError):
            pair.driver.add([piece], [])
    with pytest.raises(ValueError, match="chain"):
        pair.driver.add(itertools.repeat((DATA, 1)), [])  # type: ignore[arg-type]
    assert pair.driver.in_flight == 0


def test_a_device_that_breaks_the_ring_is_found_out_after_its_good_chains(pair: Pair) -> None:
    """The driver gets the chains before, then RingCorrupt, and again."""
    tokens = [pair.driver.add([(DATA, 1)], []) for _ in range(2)]
    pair.device.pop()
    pair.device.push(tokens[0] or 0, 0)
    # The second used chain has a name that the queue does not have.
    for address, data in {
        False: [
            (USED_ELEMENTS + 8, (999).to_bytes(4, "little")),
            (USED_IDX, (2).to_bytes(2, "little")),
        ],
        True: [(BASE + 16 + 12, LAST_OF_DESCRIPTOR.pack(999, USED))],
    }[pair.packed]:
        pair.memory.write(address, data)
    assert pair.driver.pop_used() == [(tokens[0], 0)]
    for _ in range(2):
        with pytest.raises(RingCorrupt, match="999"):
            pair.driver.pop_used()


def test_a_driver_that_breaks_the_ring_is_found_out(pair: Pair) -> None:
    """The device gets RingCorrupt, and again."""
    pair.memory.write(
        *{
            False: (AVAIL_IDX, (999).to_bytes(2, "little")),
            True: (BASE + 12, LAST_OF_DESCRIPTOR.pack(999, AVAILABLE)),
        }[pair.packed]
    )
    for _ in range(2):
        with pytest.raises(RingCorrupt, match="999"):
            pair.device.pop()
    with pytest.raises(RingCorrupt):
        pair.device.enable_notifications()


def test_a_chain_that_is_not_held_cannot_be_given_back(pair: Pair) -> None:
    """It is the caller's mistake."""
    with pytest.raises(ValueError, match="does not hold"):
        pair.device.push(3, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 0},
        {"size": 3},
        {"size": 65535},
        {"descriptor_area": BASE + 8},
        {"driver_area": BASE + 0x1001},
        {"device_area": BASE + 0x2002},
        {"descriptor_area": 0},
        {"device_area": BASE + SIZE - 4},
        {"driver_area": 2**64 - 2},
        {"driver_area": BASE},
    ],
)
def test_a_queue_that_cannot_be_there_is_refused(changes: dict[str, Any]) -> None:
    """As the driver's violation by the device, as a mistake by the driver."""
    memory, config = make_memory(), make_config(packed=False, **changes)
    with pytest.raises(DriverViolation):
        DeviceQueue(memory, config)
    with pytest.raises(ValueError, match=r"\w"):
        DriverQueue(memory, config)


def test_a_size_beyond_16_bits_is_refused() -> None:
    """It does not wrap around."""
    with pytest.raises(OverflowError):
        make_config(size=65536)


@pytest.mark.parametrize(
    "changes", [{"size": 0}, {"size": 32769}, {"driver_area": BASE + 0x1002}, {"driver_area": BASE}]
)
def test_a_packed_queue_that_cannot_be_there_is_refused(changes: dict[str, Any]) -> None:
    """As a split one; but the rules differ."""
    memory, config = make_memory(), make_config(packed=True, **changes)
    with pytest.raises(DriverViolation):
        DeviceQueue(memory, config)
    with pytest.raises(ValueError, match=r"\w"):
        DriverQueue(memory, config)


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_a_packed_queue_may_have_any_size(size: int) -> None:
    """Its laps end where the ring ends."""
    memory, config = make_memory(), make_config(packed=True, size=size)
    driver, device = DriverQueue(memory, config), DeviceQueue(memory, config)
    for turn in range(3 * size):
        token = driver.add([], [(DATA, 512)])
        assert device.pop() == (token, [], [(DATA, 512)])
        device.push(token or 0, turn)
        assert driver.pop_used() == [(token, turn)]


@KINDS
def test_another_device_side_goes_on_where_the_first_one_ended(packed: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """Its base says where: also in the middle of a lap."""
    memory = make_memory()
    driver = DriverQueue(memory, make_config(packed=packed))
    base = None
    for turn in range(3 * QUEUE_SIZE):
        config = make_config(packed=packed) if base is None else resumed(base, packed=packed)
        device = DeviceQueue(memory, config)
        token = driver.add([(DATA, 1)], [(DATA, 512)])
        assert device.pop() == (token, [(DATA, 1)], [(DATA, 512)])
        device.push(token or 0, turn)
        assert driver.pop_used() == [(token, turn)]
        base = device.base


def resumed(base: int, *, packed: bool) -> QueueConfig:
    """Describe the same queue, to go on with."""
    return QueueConfig(
        size=QUEUE_SIZE,
        descriptor_area=BASE,
        driver_area=BASE + 0x1000,
        device_area=BASE + 0x2000,
        event_idx=True,
        indirect=False,
        packed=packed,
        base=base,
    )


@pytest.mark.parametrize(("packed", "base"), [(False, 0x1_0000), (True, 0x8000_8010)])
def test_a_base_outside_the_ring_is_refused(packed: bool, base: int) -> None:  # noqa: FBT001 - a parameter of pytest
    """It is where no index is."""
    with pytest.raises(DriverViolation, match="cannot go on"):
        DeviceQueue(make_memory(), resumed(base, packed=packed))


@KINDS
def test_indirect_tables_save_descriptors(packed: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """A chain of three buffers takes one descriptor, and looks the same to the device."""
    memory = make_memory()
    config = QueueConfig(
        size=4,
        descriptor_area=BASE,
        driver_area=BASE + 0x1000,
        device_area=BASE + 0x2000,
        event_idx=False,
        indirect=True,
        packed=packed,
    )
    driver = DriverQueue(memory, config, indirect_area=BASE + 0x3000, indirect_entries=3)
    device = DeviceQueue(memory, config)
    token = driver.add([(DATA, 16), (DATA + 16, 512)], [(DATA + 1024, 1)])
    assert driver.free == 3
    assert device.pop() == (token, [(DATA, 16), (DATA + 16, 512)], [(DATA + 1024, 1)])
