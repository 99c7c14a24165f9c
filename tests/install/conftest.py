"""What people install, in containers with an empty Debian. `make test-install` runs these."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

WHEELS = "VIRTMESH_WHEELS"
"""Folder with the wheels of the distributions."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder; leave them out where there are no wheels."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.docker)
            if not os.environ.get(WHEELS):
                item.add_marker(pytest.mark.skip(reason="make test-install runs these"))


@pytest.fixture(scope="session")
def wheels() -> Path:
    """Return the folder with the wheels."""
    return Path(os.environ[WHEELS]).absolute()


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """Connect to the Docker engine of this host."""
    client = docker.from_env()
    client.ping()
    yield client
    client.close()
