"""Machines of real processes, started by the `virtmesh` that people type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import Cli, own_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cli() -> Iterator[Cli]:
    """Give the test a `virtmesh` with a run folder of its own."""
    with own_folder() as cli:
        yield cli


@pytest.fixture
def machine(cli: Cli) -> Iterator[virtmesh_client.Machine]:
    """Start a machine with the disk vda of 16 MiB, and connect to it."""
    cli.up("--no-serial", "--disk", "disk.img,size=16M")
    with virtmesh_client.connect(cli.state.address) as machine:
        yield machine


@pytest.fixture(scope="module")
def shared_address() -> Iterator[str]:
    """Start one machine like that for all tests of a module, which leave its disk as it was."""
    with own_folder() as cli:
        cli.up("--no-serial", "--disk", "disk.img,size=16M")
        yield cli.state.address
