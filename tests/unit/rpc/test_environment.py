"""gRPC's environment is set for our services, in time, and never for a user's script."""

from __future__ import annotations

import subprocess
import sys

import pytest

SEEN = """
import os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            print(os.environ.get("GRPC_EXPERIMENTS", "unset"))

sys.meta_path.insert(0, Finder())
import {module}
"""


def environment_at_import(module: str) -> str:
    """Import a module in a process of its own; return what gRPC finds when it is imported."""
    environment = {"PATH": "/usr/bin:/bin"}
    script = f"import sys; sys.path[:] = {sys.path!r}\n" + SEEN.format(module=module)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.strip()


def environment_after_import(module: str) -> list[str]:
    """Return the variables that importing a module sets or changes in its process."""
    script = (
        f"import sys; sys.path[:] = {sys.path!r}\nimport os; before = dict(os.environ)\n"
        f"import {module}\n"
        "print(*sorted(k for k, v in os.environ.items() if before.get(k) != v))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    return done.stdout.split()


@pytest.mark.parametrize("module", ["virtmesh.host.main", "virtmesh.kernel.main"])
def test_a_service_is_without_the_event_engine(module: str) -> None:
    """The variable is there before gRPC is imported: later it has no effect."""
    assert environment_at_import(module) == "-event_engine_client,-event_engine_listener"


@pytest.mark.parametrize(
    "module",
    ["virtmesh_client.library", "virtmesh_client.testing", "virtmesh_common.channel"],
)
def test_a_script_keeps_its_environment(module: str) -> None:
    """The library says nothing about gRPC in a user's process, before its import or after it."""
    assert environment_at_import(module) == "unset"
    assert environment_after_import(module) == []


def test_the_environment_of_a_service_is_seen_to_change() -> None:
    """The check above can fail: a service does set what the library does not."""
    assert environment_after_import("virtmesh.host.main") == ["GRPC_EXPERIMENTS", "GRPC_VERBOSITY"]
