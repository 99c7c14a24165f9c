"""Two hosts on one host: network namespaces joined by a bridge in a third, whose link can be cut.

with two_hosts() as hosts:
hosts.command(hosts.far, "virtmesh", "devices", "--address", "198.51.100.1:50051")
hosts.cut()
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

NEAR_ADDRESS, FAR_ADDRESS = "198.51.100.1", "198.51.100.2"


@dataclass(frozen=True)
class TwoHosts:
    """Names of the namespaces."""

    near: str
    far: str
    middle: str

    def command(self, host: str, *arguments: str) -> list[str]:
        """Return the command line that runs a program on one of the hosts."""
        return ["ip", "netns", "exec", host, *arguments]

    def cut(self) -> None:
        """Take the link between them down. Neither host is told."""
        ip("-n", self.middle, "link", "set", "bridge0", "down")


def ip(*arguments: str) -> None:
    """Configure networks. Errors: CalledProcessError."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def two_hosts() -> Iterator[TwoHosts]:
    """Make the hosts; skips the test where that is not allowed."""
    names = [f"vm-{os.getpid()}-{name}" for name in ("near", "far", "middle")]
    hosts = TwoHosts(*names)
    try:
        try:
            for name in names:
                ip("netns", "add", name)
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            pytest.skip(f"making network namespaces needs root and ip(8): {error}")
        ip("-n", hosts.middle, "link", "add", "bridge0", "type", "bridge")
        ip("-n", hosts.middle, "link", "set", "bridge0", "up")
        for host, address in ((hosts.near, NEAR_ADDRESS), (hosts.far, FAR_ADDRESS)):
            port = "near" if host == hosts.near else "far"
            pair = ("type", "veth", "peer", "name", "link0", "netns", host)
            ip("-n", hosts.middle, "link", "add", port, *pair)
            ip("-n", hosts.middle, "link", "set", port, "master", "bridge0", "up")
            ip("-n", host, "addr", "add", f"{address}/24", "dev", "link0")
            ip("-n", host, "link", "set", "link0", "up")
            ip("-n", host, "link", "set", "lo", "up")
        yield hosts
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
