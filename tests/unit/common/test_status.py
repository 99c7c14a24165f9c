"""The order in which a driver may set the device status (virtio 1.4, 2.1, 3.1.1)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh_common.errors import DriverViolation
from virtmesh_common.virtio.status import TRANSITIONS, Status, check_transition, status_names

ORDER = (Status(0), Status(1), Status(3), Status(11), Status(15))


@pytest.mark.parametrize(("before", "after"), list(pairwise(ORDER)))
def test_the_order_of_the_specification_is_legal(before: Status, after: Status) -> None:
    """ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK."""
    assert check_transition(before, after) == after


@pytest.mark.parametrize(
    ("before", "written"),
    [(0, 2), (0, 11), (0, 15), (1, 11), (3, 7), (3, 15), (0, 4), (0, 8), (1, 9)],
)
def test_no_step_is_left_out(before: int, written: int) -> None:
    """Features are read before FEATURES_OK, which is read back before DRIVER_OK."""
    with pytest.raises(DriverViolation):
        check_transition(Status(before), written)


@pytest.mark.parametrize(("before", "written"), [(15, 11), (3, 1), (131, 3), (11, 3)])
def test_bits_are_not_cleared(before: int, written: int) -> None:
    """Only a reset clears (2.1.1)."""
    with pytest.raises(DriverViolation):
        check_transition(Status(before), written)


@pytest.mark.parametrize("bit", [16, 32, 64, 256, 1 << 31])
def test_bits_that_are_not_the_drivers(bit: int) -> None:
    """SUSPEND was not offered, DEVICE_NEEDS_RESET is the device's, the others are nobody's."""
    with pytest.raises(DriverViolation):
        check_transition(Status.ACKNOWLEDGE, Status.ACKNOWLEDGE | bit)


@pytest.mark.parametrize("state", ORDER)
def test_failed_can_be_set_in_any_state_and_ends_it(state: Status) -> None:
    """After FAILED comes a reset (2.1.1)."""
    failed = check_transition(state, state | Status.FAILED)
    assert failed == state | Status.FAILED
    for further in TRANSITIONS[state]:
        with pytest.raises(DriverViolation):
            check_transition(failed, further | Status.FAILED)


def test_needs_reset_may_be_written_back_or_not() -> None:
    """The device sets it at any time, so a driver can know it or not."""
    before = Status(11) | Status.DEVICE_NEEDS_RESET
    assert check_transition(before, 15) == Status(15)
    assert check_transition(before, 15 | 64) == Status(15)


@given(st.sampled_from(ORDER), st.integers(1, 255))
def test_legal_states_are_closed(before: Status, written: int) -> None:
    """Whatever a driver writes, the device stays in a state of the table, FAILED or not."""
    try:
        after = check_transition(before, written)
    except DriverViolation:
        return
    assert after & ~Status.FAILED in TRANSITIONS


def test_names() -> None:
    """Bits without a name are named by their value."""
    assert status_names(0) == []
    assert status_names(0b0100_1111 | 0x20) == [
        "ACKNOWLEDGE",
        "DRIVER",
        "DRIVER_OK",
        "FEATURES_OK",
        "bit 0x20",
        "DEVICE_NEEDS_RESET",
    ]
