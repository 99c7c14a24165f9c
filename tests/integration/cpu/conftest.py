"""Machines with a CPU, of real processes, that run small kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.riscv.small_kernels import COMPILER, build, has_compiler

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.cli import Cli

    BuildKernel = Callable[[str], Path]


@pytest.fixture
def kernel(cli: Cli) -> BuildKernel:
    """Give the test a function that builds a kernel from assembly."""
    if not has_compiler():
        pytest.skip(f"{COMPILER} is not installed")
    return lambda body: build(cli.folder, body)
