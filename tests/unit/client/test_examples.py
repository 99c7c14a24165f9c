"""The examples in docstrings of the client run, against a machine in memory."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
from types import FunctionType
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.docstrings import example_of
from virtmesh_client import AsyncDisk, AsyncMachine, Disk, Machine, testing
from virtmesh_client.testing import FakeKernel

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMBERS = (AsyncDisk, AsyncMachine, Disk, Machine, FakeKernel)
"""Classes that must have an example, and that FakeKernel can serve."""


def run_example(code: str, name: str) -> str:
    """Run an example, awaiting what it awaits; return what it prints."""
    shown = io.StringIO()
    program = compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = {"asyncio": asyncio, "virtmesh_client": virtmesh_client, **vars(testing)}
    with contextlib.redirect_stdout(shown):
        done = FunctionType(program, names)()
        if inspect.iscoroutine(done):
            asyncio.run(done)
    return shown.getvalue()


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    """Serve the machine that `connect` finds."""
    with FakeKernel(vda=1 << 20, vdb=1 << 20) as kernel:
        monkeypatch.setenv("VIRTMESH_ADDRESS", kernel.address)
        yield kernel


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
def test_the_example_of_a_class_runs(member: type) -> None:
    """It is there, it uses the client, and it runs to its end."""
    example = example_of(member.__doc__ or "")

    assert "virtmesh_client." in example
    run_example(example, member.__name__)


def test_an_example_shows_what_the_disk_holds(kernel: FakeKernel) -> None:
    """What it prints is what a reader expects."""
    shown = run_example(example_of(Disk.__doc__ or ""), "Disk")

    assert shown == "b'hello'\n"
    assert kernel.disks["vda"].data[512:517] == b"hello"


def test_a_failing_example_is_a_failure() -> None:
    """Also one that awaits."""
    with pytest.raises(ZeroDivisionError):
        run_example("1 / 0", "bad")
    with pytest.raises(ZeroDivisionError):
        run_example("await asyncio.sleep(0)\n1 / 0", "bad")


def test_an_example_ends_with_its_indentation() -> None:
    """Text that follows is no code."""
    docstring = "A thing.\n\nExample:\n    one()\n\n    two()\n\nErrors: none."

    assert example_of(docstring) == "one()\n\ntwo()"
    assert example_of("No example.") == ""
