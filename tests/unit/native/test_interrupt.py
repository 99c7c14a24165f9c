"""virtmesh_native.Interrupt: bits, counters and eventfds."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest
from virtmesh_native import Interrupt

from tests.support.native_rig import is_readable, make_eventfd
from virtmesh_common.errors import BadDoorbell

if TYPE_CHECKING:
    from collections.abc import Iterator

USED, CONFIG = 1, 2


@pytest.fixture
def eventfd() -> Iterator[int]:
    """Make a non-blocking eventfd."""
    descriptor = make_eventfd()
    yield descriptor
    os.close(descriptor)


def test_bits_are_set_until_they_are_acknowledged() -> None:
    """InterruptACK clears the bits written to it, and no others."""
    interrupt = Interrupt()
    interrupt.raise_used(0)
    interrupt.raise_config()
    assert interrupt.status == USED | CONFIG
    interrupt.acknowledge(USED)
    assert interrupt.status == CONFIG


def test_the_sequence_counts_raises_and_survives_a_reset() -> None:
    """Each raise counts, whether its bit was pending or not."""
    interrupt = Interrupt()
    interrupt.raise_used(0)
    interrupt.raise_used(1)
    interrupt.reset()
    assert (interrupt.sequence, interrupt.status, interrupt.suppressed) == (2, 0, 0)


def test_a_used_buffer_signals_the_eventfd_of_its_queue(eventfd: int) -> None:
    """And a configuration change does not."""
    interrupt = Interrupt()
    interrupt.set_call(3, eventfd)
    interrupt.raise_config()
    interrupt.raise_used(2)
    assert not is_readable(eventfd)
    interrupt.raise_used(3)
    assert os.eventfd_read(eventfd) == 1


def test_a_configuration_change_signals_its_own_eventfd(eventfd: int) -> None:
    """And a used buffer does not."""
    interrupt = Interrupt()
    interrupt.set_config_call(eventfd)
    interrupt.raise_used(0)
    assert not is_readable(eventfd)
    interrupt.raise_config()
    assert os.eventfd_read(eventfd) == 1


def test_an_eventfd_can_be_cleared_and_survives_a_reset(eventfd: int) -> None:
    """Reset keeps eventfds; None takes them away."""
    interrupt = Interrupt()
    interrupt.set_call(0, eventfd)
    interrupt.reset()
    interrupt.raise_used(0)
    assert os.eventfd_read(eventfd) == 1
    interrupt.set_call(0, None)
    interrupt.set_config_call(None)
    interrupt.raise_used(0)
    assert not is_readable(eventfd)


def test_the_eventfd_is_duplicated() -> None:
    """The caller may close its descriptor."""
    descriptor = make_eventfd()
    copy = os.dup(descriptor)
    interrupt = Interrupt()
    interrupt.set_call(0, descriptor)
    os.close(descriptor)
    interrupt.raise_used(0)
    assert os.eventfd_read(copy) == 1
    os.close(copy)


def test_wake_fd_is_signalled_while_observed_only() -> None:
    """Nobody pays for it while nobody watches."""
    interrupt = Interrupt()
    interrupt.raise_used(0)
    assert not is_readable(interrupt.wake_fd)
    interrupt.observed = True
    interrupt.raise_used(0)
    interrupt.raise_config()
    assert interrupt.observed
    assert os.eventfd_read(interrupt.wake_fd) == 2


def test_the_first_fault_is_kept_until_reset() -> None:
    """A fault is a configuration change too (virtio 1.4, 2.1.2)."""
    interrupt = Interrupt()
    assert interrupt.fault is None
    interrupt.set_fault("the first")
    interrupt.set_fault("the second")
    assert interrupt.fault == "the first"
    assert interrupt.status == CONFIG
    interrupt.reset()
    assert interrupt.fault is None


def test_a_blocking_eventfd_is_refused() -> None:
    """With the mend."""
    descriptor = make_eventfd(0)
    with pytest.raises(BadDoorbell, match="EFD_NONBLOCK"):
        Interrupt().set_call(0, descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("descriptor", [-1, 2**31 - 1])
def test_a_number_that_is_no_descriptor_is_refused(descriptor: int) -> None:
    """For both kinds of eventfd."""
    interrupt = Interrupt()
    with pytest.raises(BadDoorbell):
        interrupt.set_call(0, descriptor)
    with pytest.raises(BadDoorbell):
        interrupt.set_config_call(descriptor)


def test_what_is_no_eventfd_is_refused() -> None:
    """It is named."""
    reader, writer = os.pipe()
    with pytest.raises(BadDoorbell, match="pipe"):
        Interrupt().set_call(0, reader)
    os.close(reader)
    os.close(writer)


def test_a_queue_that_no_device_has_is_refused(eventfd: int) -> None:
    """Its eventfd is not kept."""
    with pytest.raises(BadDoorbell, match="no queue 64"):
        Interrupt().set_call(64, eventfd)


def test_a_full_eventfd_made_blocking_does_not_hang_the_device(eventfd: int) -> None:
    """The driver can do that at any time, since it shares the open file."""
    interrupt = Interrupt()
    interrupt.set_call(0, eventfd)
    os.eventfd_write(eventfd, 2**64 - 2)
    fcntl.fcntl(eventfd, fcntl.F_SETFL, 0)
    interrupt.raise_used(0)
    interrupt.raise_used(0)
    assert interrupt.sequence == 2
