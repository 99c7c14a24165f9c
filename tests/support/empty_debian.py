"""An empty Debian 12 in a container, to install things into: commands run in it as root.

It is the image that the stack is built on, which deploy/offline makes where no registry of images
is reached. Nothing else of the host is in it but what a test puts there.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support import ROOT
from tools.stack import BASE_IMAGE, DOCKERFILE, get_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import docker
    from docker.models.containers import Container

SLOW_SECONDS = 1500
"""Limit for a command: compilers are fetched, Rust is built."""


@dataclass(frozen=True)
class EmptyDebian:
    """A container that runs."""

    container: Container

    def run(
        self, command: str, *, check: bool = True, folder: str = "/", seconds: float = SLOW_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command; returns what it printed, errors among it.

        With `check`, one that fails fails the test with what it printed.
        """
        done = subprocess.run(
            ["docker", "exec", "--workdir", folder, str(self.container.id), "sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
        print(f"$ {command}\n{done.stdout}")  # noqa: T201 - shown when the test fails, or by -s
        if check:
            assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
        return done

    def install(self, *packages: str) -> None:
        """Install Debian packages, and nothing that they only recommend."""
        names = shlex.join(packages)
        self.run(
            "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq"
            f" && apt-get install -qq --yes --no-install-recommends {names}"
        )

    def has(self, program: str) -> bool:
        """Say whether there is such a program."""
        return self.run(f"command -v {program}", check=False).returncode == 0

    def put_tree(self, folder: str) -> None:
        """Put the files of the repository into a folder, as they are on the disk now."""
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        there = b"\0".join(name for name in names.split(b"\0") if (ROOT / name.decode()).is_file())
        packed = subprocess.run(
            ["tar", "--create", "--null", "--files-from=-"],
            cwd=ROOT,
            input=there,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        self.run(f"mkdir -p {folder}")
        assert self.container.put_archive(folder, packed)


@contextlib.contextmanager
def empty_debian(
    client: docker.DockerClient, mounts: Mapping[Path, str] | None = None
) -> Iterator[EmptyDebian]:
    """Start a container; folders of the host are mounted where they are asked for."""
    (image,) = set(BASE_IMAGE.findall(DOCKERFILE.read_text()))
    assert get_image(client, image), f"there is no {image}: see deploy/offline/README.md"
    container = client.containers.run(
        image,
        ["sleep", "infinity"],
        detach=True,
        init=True,
        volumes={str(path): {"bind": bind, "mode": "rw"} for path, bind in (mounts or {}).items()},
    )
    try:
        yield EmptyDebian(container)
    finally:
        container.remove(force=True)
