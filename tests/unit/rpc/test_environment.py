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


@pytest.mark.parametrize("module", ["virtmesh.host.main", "virtmesh.kernel.main"])
def test_a_service_is_without_the_event_engine(module: str) -> None:
    """The variable is there before gRPC is imported: later it has no effect."""
    assert environment_at_import(module) == "-event_engine_client,-event_engine_listener"


@pytest.mark.parametrize("module", ["virtmesh_client", "virtmesh_common.channel"])
def test_a_script_keeps_its_environment(module: str) -> None:
    """The client library says nothing about gRPC in a user's process."""
    assert environment_at_import(module) == "unset"
