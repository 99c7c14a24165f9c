"""Runs `virtmesh` as on a system that is no Unix: `python -m tests.support.other_system ...`.

What Python lacks on Windows is hidden: modules, and names in os, select and signal. Other libraries
are imported before, since they have code of their own for Windows, which can't run here.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import pkgutil
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

LIBRARIES = (
    "asyncio", "click.shell_completion", "concurrent.futures.thread",
    "google.rpc.error_details_pb2",
    "grpc.aio", "grpc_status.rpc_status", "multiprocessing", "platformdirs.unix", "rich.live",
    "rich.progress", "shutil", "subprocess", "tempfile", "perfetto.trace_builder.proto_builder",
)  # fmt: skip
"""What virtmesh's client imports of others."""
MODULES = (
    "curses",
    "fcntl",
    "grp",
    "pty",
    "pwd",
    "readline",
    "resource",
    "syslog",
    "termios",
    "tty",
)
NAMES: dict[ModuleType, tuple[str, ...]] = {
    os: (
        "O_CLOEXEC", "O_DIRECTORY", "O_NOCTTY", "O_NONBLOCK", "POSIX_SPAWN_DUP2",
        "POSIX_SPAWN_OPEN", "geteuid", "getuid", "killpg", "openpty", "pidfd_open", "pipe2",
        "posix_spawn", "posix_spawnp", "pwrite", "ttyname",
    ),
    select: ("PIPE_BUF", "POLLERR", "POLLHUP", "POLLIN", "POLLNVAL", "POLLOUT", "epoll", "poll"),
    signal: (
        "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGWINCH", "SIGXFSZ",
        "pidfd_send_signal",
    ),
    socket: ("SCM_RIGHTS",),
}  # fmt: skip


OPTIONAL = ("virtmesh_client.labgrid",)
"""Modules for packages that nothing depends on."""


def hide() -> None:
    """Take away what another system does not have."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for module, names in NAMES.items():
        for name in names:
            delattr(module, name)


def forbid_services() -> None:
    """Let nothing of the package `virtmesh` be imported, and add no command of it."""
    installed = importlib.metadata.entry_points

    def without_services(**wanted: Any) -> list[importlib.metadata.EntryPoint]:
        points: Any = installed(**wanted)
        return [point for point in points if point.module.partition(".")[0] != "virtmesh"]

    importlib.metadata.entry_points = without_services  # type: ignore[assignment]
    sys.modules["virtmesh"] = None  # type: ignore[assignment]


def import_all() -> list[str]:
    """Import every module of the client and what it shares; return their names."""
    names = []
    for root in ("virtmesh_common", "virtmesh_client"):
        package = importlib.import_module(root)
        names += [one.name for one in pkgutil.walk_packages(package.__path__, f"{root}.")]
    for name in names:
        if not name.endswith("__main__") and name not in OPTIONAL:
            importlib.import_module(name)
    return names


def main() -> None:
    """Run the command line."""
    hide()
    forbid_services()
    from virtmesh_client.cli import main as virtmesh  # noqa: PLC0415

    virtmesh()


if __name__ == "__main__":
    main()
