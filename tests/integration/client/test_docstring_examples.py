"""The examples in the docstrings of the client, run against a machine of real processes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import own_folder
from tests.support.docstrings import example_of
from virtmesh_client import input as input_client
from virtmesh_client import models
from virtmesh_client import serial as serial_client
from virtmesh_client.local import rundir

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.processes

PACKAGES = (models.__name__, input_client.__name__, serial_client.__name__)
"""Where the classes are that this test is about."""


def public_classes() -> list[type]:
    """Return the classes of `virtmesh_client.__all__` that PACKAGES define, and SerialWatch."""
    members = [getattr(virtmesh_client, name) for name in virtmesh_client.__all__]
    return [
        member
        for member in [*members, serial_client.SerialWatch]
        if inspect.isclass(member)
        and member.__module__.startswith(PACKAGES)
        and not member.__name__.startswith("Async")
    ]


@pytest.fixture(scope="module", autouse=True)
def machine() -> Iterator[None]:
    """Start a machine with a disk, a keyboard, a tablet and a serial port: the only one found."""
    with own_folder() as cli, pytest.MonkeyPatch.context() as patch:
        cli.up("--disk", "disk.img,size=1M", "--input", "keyboard", "--input", "tablet", "--serial")
        patch.setenv(rundir.VARIABLE, str(cli.run_dir))
        yield


@pytest.mark.parametrize("member", public_classes(), ids=lambda member: member.__name__)
def test_each_public_class_has_an_example_that_runs(member: type) -> None:
    """It asserts for itself what it shows."""
    example = example_of(member.__doc__ or "")
    assert "virtmesh_client." in example
    exec(compile(example, member.__name__, "exec"), {"virtmesh_client": virtmesh_client})  # noqa: S102 - our own text
