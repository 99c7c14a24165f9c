"""Machines whose devices real Linux guests drive. `make test-interop` sets $VIRTMESH_GUESTS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.support.cli import Cli, own_folder
from tests.support.guest import Boot, Guest, booted
from virtmesh_client.guest.command_lines import check_version
from virtmesh_client.guest.prerequisites import find_program
from virtmesh_common.errors import GuestError

PARTS = "VIRTMESH_GUESTS"
"""Folder that tools/guests.sh has filled: a kernel, and QEMU where the system's is too old."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder; leave them out where the guests are not there."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.interop)
            item.add_marker(pytest.mark.timeout(600))
            if not os.environ.get(PARTS):
                item.add_marker(pytest.mark.skip(reason="make test-interop runs these"))


@pytest.fixture(scope="session")
def parts() -> Path:
    """Return the folder with the parts of guests."""
    return Path(os.environ[PARTS]).absolute()


@pytest.fixture(scope="session")
def qemu_options(parts: Path) -> tuple[str, ...]:
    """Return the options that name the kernel and QEMU."""
    own = own_qemu(parts)
    return ("--kernel", str(parts), *(("--qemu", str(own)) if own else ()))


@pytest.fixture(scope="session")
def input_boot(boot: dict[str, Boot], parts: Path) -> Boot:
    """Return what boots a guest with input devices, where QEMU can connect them."""
    try:
        check_version(own_qemu(parts) or find_program("qemu-system-x86_64", "qemu-system-x86"))
    except GuestError as error:
        pytest.skip(str(error))
    return boot["qemu"]


@pytest.fixture(scope="module")
def shared() -> Iterator[Cli]:
    """Give the tests of a module a `virtmesh` with a run folder of its own."""
    with own_folder() as cli:
        yield cli


@pytest.fixture
def cli() -> Iterator[Cli]:
    """Give the test a `virtmesh` with a run folder of its own."""
    with own_folder() as cli:
        yield cli


@pytest.fixture(scope="session")
def boot(qemu_options: tuple[str, ...]) -> dict[str, Boot]:
    """Return what boots each kind of guest."""
    return {"uml": boot_uml, "qemu": partial(boot_qemu, qemu_options)}


def own_qemu(parts: Path) -> Path | None:
    """Return the QEMU among the parts, if the system's is too old."""
    own = parts / "usr/bin/qemu-system-x86_64"
    return own if own.exists() else None


def boot_uml(cli: Cli, *options: str) -> AbstractContextManager[Guest]:
    """Boot user-mode Linux."""
    return booted(cli, "uml", *options)


def boot_qemu(qemu: tuple[str, ...], cli: Cli, *options: str) -> AbstractContextManager[Guest]:
    """Boot a kernel under QEMU."""
    return booted(cli, "qemu", *qemu, *options)
