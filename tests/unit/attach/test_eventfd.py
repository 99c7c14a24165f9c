"""Reading eventfds that another process has as well."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from virtmesh.attach.eventfd import drain


@pytest.fixture(params=[0, os.EFD_NONBLOCK], ids=["blocking", "non-blocking"])
def eventfd(request: pytest.FixtureRequest) -> Iterator[int]:
    """Make an eventfd, not signalled."""
    descriptor = os.eventfd(0, request.param)
    yield descriptor
    os.close(descriptor)


def test_a_signal_is_taken_once(eventfd: int) -> None:
    """However often it was given; and nothing ever waits for the next, whatever the flags."""
    os.eventfd_write(eventfd, 3)
    assert drain(eventfd)
    assert not drain(eventfd)


def test_what_is_no_descriptor_is_an_error() -> None:
    """It is not taken for an eventfd that was not signalled."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        drain(-1)
