"""`make demo` on a brand-new Debian, with nothing but git, Python and make."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.support.empty_debian import empty_debian

if TYPE_CHECKING:
    import docker

TREE = "/virtmesh"
PASTE = "To install them: apt-get update && apt-get install "
NEEDED = ("python3-venv", "gcc", "libc6-dev", "cargo-web", "rustc-web", "libxkbcommon0")


def test_the_demo_does_all_of_its_set_up(engine: docker.DockerClient) -> None:
    """It installs what is missing, builds, and passes its own checks; told not to, it asks."""
    with empty_debian(engine) as debian:
        debian.install("git", "python3", "make")
        debian.put_tree(TREE)

        refused = debian.run("NO_INSTALL=1 make demo", check=False, folder=TREE)
        assert refused.returncode != 0
        (paste,) = [line for line in refused.stdout.splitlines() if line.startswith(PASTE)]
        for package in NEEDED:
            assert f" {package}" in paste
        debian.run(f"test ! -e {TREE}/.venv")

        started = time.monotonic()
        done = debian.run("make demo", folder=TREE)
        print(f"make demo took {time.monotonic() - started:.0f} s")  # noqa: T201 - for the log of CI
        assert "checks passed." in done.stdout.splitlines()[-1]

        again = debian.run("NO_INSTALL=1 make demo", folder=TREE)
        assert "Compiling" not in again.stdout
