"""The sandbox of a service, in two steps that can't be undone.

`confine` comes first, while the process has one thread: on most kernels Landlock holds for the
thread that asks, and for those that it starts later. `seal` comes when the service listens, and
before it takes anybody: no new socket is made after it. Where the kernel lacks a part, one line of
the log and a metric say so, and the service goes on.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

import click
import structlog
import virtmesh_native as native

from virtmesh.sandbox.filters import EARLY, NAMES, spell_filters
from virtmesh.sandbox.needs import Access
from virtmesh.sandbox.readable import WRITABLE, readable_paths
from virtmesh.telemetry.definitions import gauge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prometheus_client import Metric

    from virtmesh.sandbox.needs import Needs

log = structlog.get_logger(__name__)

PART = gauge(
    "virtmesh_sandbox_part",
    "1 while a part of the sandbox is in force: process (no new privileges, no dumps), landlock,"
    " seccomp.",
    "",
    "part",
)
LANDLOCK_VERSION = gauge(
    "virtmesh_sandbox_landlock_version",
    "What version of Landlock is in force; 0: none.",
    "",
)
ON, OFF = "on", "off"
SANDBOX: Mapping[str, Any] = {
    "type": click.Choice([ON, OFF]),
    "default": ON,
    "show_default": True,
    "envvar": "VIRTMESH_SANDBOX",
    "show_envvar": True,
    "help": "Give up files, ports and system calls that the service does not need.",
}
"""What click is told of the option `--sandbox`."""
PARTS = ("process", "landlock", "seccomp")
ANY_PORT = 0
"""gRPC binds a socket to any port of ::1 to find out whether this host has IPv6. Nobody listens at
it: that is refused by the time when strangers come."""
LANDLOCK_WANTED = 6
"""The version of Landlock that has all that is used: files, TCP ports, signals."""


class State:
    """Which parts are in force in this process."""

    def __init__(self) -> None:
        self.parts = dict.fromkeys(PARTS, False)
        self.landlock = 0


STATE = State()
"""That of this process: a sandbox is for a whole process, and for good."""


def sandbox_metrics() -> Iterable[Metric]:
    """Return the metrics of the sandbox of this process."""
    yield PART.of(((part,), float(on)) for part, on in STATE.parts.items())
    yield LANDLOCK_VERSION.one(STATE.landlock)


class Sandbox:
    """The sandbox of this process. One that is off does nothing, and says so."""

    def __init__(self, needs: Needs, *, is_on: bool = True) -> None:
        self._needs = needs
        self._is_on = is_on
        self._lacks: list[str] = []

    def confine(self) -> None:
        """Give up files, ports, privileges and dumps. Call it before any thread is started."""
        if not self._is_on:
            return
        self._filter(EARLY)
        try:
            native.harden()
            STATE.parts["process"] = True
        except OSError as error:
            self._lacks.append(f"process: {error}")
        threads = native.count_threads()
        if threads > 1:
            self._lacks.append(f"landlock: {threads - 1} threads were there before it")
        needs = self._needs
        paths = [(str(path), Access.READ) for path in readable_paths()]
        paths += [(path, Access.WRITE) for path in WRITABLE]
        paths += [(str(path), access) for path, access in needs.paths]
        try:
            version, is_full = native.confine(
                [(path, access.value) for path, access in paths],
                bind=[ANY_PORT, *needs.bind],
                connect=None if needs.connect is None else list(needs.connect),
            )
        except OSError as error:
            self._lacks.append(f"landlock: {error}")
            return
        STATE.landlock = version
        STATE.parts["landlock"] = version > 0 and threads == 1
        if not is_full:
            self._lacks.append(
                f"landlock: this kernel has version {version} of {LANDLOCK_WANTED}"
                if version
                else "landlock: this kernel or this container has none"
            )

    def seal(self) -> None:
        """Give up system calls, for all threads, and say what the sandbox lacks."""
        if not self._is_on:
            log.warning("no sandbox: --sandbox is off")
            return
        self._filter(NAMES)
        STATE.parts["seccomp"] = not any(one.startswith("seccomp") for one in self._lacks)
        if self._lacks:
            log.warning("the sandbox is not whole", lacks="; ".join(self._lacks))

    def _filter(self, names: Sequence[str]) -> None:
        """Put filters in force, or note why not."""
        text = spell_filters(self._needs, platform.machine(), os.getpid())
        try:
            native.filter_system_calls(text, names)
        except OSError as error:
            lack = f"seccomp: {error}"
            if lack not in self._lacks:
                self._lacks.append(lack)
