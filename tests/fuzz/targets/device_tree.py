"""Flattened device trees."""

from __future__ import annotations

from contextlib import suppress

from tests.fuzz.target import stateless
from virtmesh.kernel.tree import parse_blob
from virtmesh.kernel.tree.make import make_blob
from virtmesh.machine.model import DeviceEntry, Machine
from virtmesh_common.errors import BadMachine


def run(data: bytes) -> None:
    """Parse a blob."""
    with suppress(BadMachine):
        parse_blob(data)


def seeds() -> list[bytes]:
    """Return trees of machines."""
    return [make_blob(machine) for machine in machines()]


def machines() -> list[Machine]:
    """Return an empty machine, and one with a device in a slot."""
    return [Machine(), Machine(devices=(DeviceEntry("vda", "blk", "unix:/vda.sock", 0),))]


TARGET = stateless(run, seeds)
