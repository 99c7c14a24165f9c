"""How long calls wait for a disk that is away, as they say it to the kernel."""

from __future__ import annotations

import math

import pytest

import virtmesh_client
from virtmesh_client.retry import to_retry_ms
from virtmesh_client.testing import FakeKernel


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(0, 0), (0.0001, 1), (1.5, 1500), (30, 30_000), (3601, 3_600_000), (math.inf, 3_600_000)],
)
def test_seconds_become_milliseconds(seconds: float, milliseconds: int) -> None:
    """Rounded up, so that a short patience is one; an hour is the most that a kernel waits."""
    assert to_retry_ms(seconds) == milliseconds


@pytest.mark.parametrize("seconds", [-1, math.nan, -math.inf])
def test_what_is_no_time_is_refused(seconds: float) -> None:
    """Before anything is sent."""
    with FakeKernel(vda=1 << 20) as kernel, virtmesh_client.connect(kernel.address) as machine:
        disk = machine.disk("vda")
        with pytest.raises(ValueError, match="give a number of seconds"):
            disk.flush(retry_for=seconds)
        with pytest.raises(ValueError, match="give a number of seconds"):
            disk.write(0, b"x", retry_for=seconds)
        assert disk.read(0, 1) == b"\0"


def test_endless_patience_is_taken() -> None:
    """It is an hour for the kernel, and no limit of the call."""
    with FakeKernel(vda=1 << 20) as kernel, virtmesh_client.connect(kernel.address) as machine:
        machine.disk("vda").flush(retry_for=math.inf)
        assert machine.disk("vda").info(retry_for=math.inf).capacity_bytes == 1 << 20
