"""Malicious drivers, at every kind of device, in this process and through a real service."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.device_kinds import KINDS
from virtmesh.kinds import find_kind, kind_names
from virtmesh.testing.malicious import attack, local, service

ROUNDS = int(os.environ.get("VIRTMESH_MALICIOUS_ROUNDS", "15"))
"""Rounds for each kind and way; more of them find more."""
SEED = int(os.environ.get("VIRTMESH_MALICIOUS_SEED", "1"))


def test_every_kind_is_attacked() -> None:
    """So that a new one is."""
    assert set(KINDS) == set(kind_names())


@pytest.mark.parametrize("name", KINDS)
async def test_no_driver_breaks_a_device(name: str, tmp_path: Path) -> None:
    """In this process, where no service stands between: the model itself."""
    kind = KINDS[name]
    device = kind.make(tmp_path)

    report = await attack(local(device), kind.driver, kind.use, rounds=ROUNDS, seed=SEED)

    device.close()
    assert report.rounds == ROUNDS
    assert report.refused > 0


@pytest.mark.parametrize("name", KINDS)
async def test_no_driver_breaks_a_service(
    name: str, tmp_path: Path, serve: Callable[..., AbstractAsyncContextManager[Any]]
) -> None:
    """Through handover, register channel and eventfds."""
    kind = KINDS[name]
    device = kind.make(tmp_path)

    async with serve(device, find_kind(name)) as served:
        way = service(served.address)
        report = await attack(way, kind.driver, kind.use, rounds=ROUNDS, seed=SEED)

    assert report.rounds == ROUNDS
