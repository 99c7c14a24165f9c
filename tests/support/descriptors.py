"""Descriptors of this process, for tests that open thousands of connections."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def many_descriptors(count: int) -> Iterator[None]:
    """Let this process have so many, or skip the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if hard != unlimited and hard < count:
        pytest.skip(f"this process may have {hard} descriptors, and needs {count}")
    wanted = soft if soft == unlimited else max(soft, count)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
