"""The template: it has imported what services need, and forks one for each `Start` that it reads.

It has one thread and no gRPC channel, server or call, so a fork of it is a whole process. It ends
when its supervisor does; the services go on.
"""

from __future__ import annotations

import virtmesh.rpc.environment  # noqa: F401 - before grpc is imported

# isort: split
import contextlib
import gc
import os
import select
import signal
import socket
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from setproctitle import setproctitle

from virtmesh.kinds import find_kind
from virtmesh.local.template.packets import (
    PACKET_MAX,
    Ended,
    Preload,
    Refused,
    Start,
    Started,
    UseLog,
    decode,
    encode,
)
from virtmesh.sandbox.readable import readable_paths

if TYPE_CHECKING:
    from collections.abc import Iterable

DEVICE, KERNEL = "virtmesh.host.main", "virtmesh.kernel.main"
"""What most machines run."""
OUTPUT, ERRORS = 1, 2
"""The standard descriptors that a log file takes the place of."""


class Template:
    """Forks services for a supervisor, and reaps them."""

    def __init__(self, supervisor: socket.socket) -> None:
        self._supervisor = supervisor
        self._ended, self._wake_up = socket.socketpair()
        """Python writes to the second when a service has ended."""

    def run(self) -> Start | None:
        """Serve until the supervisor is gone; in each fork, return what that is to become."""
        for one in (self._ended, self._wake_up):
            one.setblocking(False)  # noqa: FBT003 - as socket has it
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_up.fileno(), warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self._supervisor, self._ended], [], [])
            if self._ended in ready:
                self._ended.recv(4096)
                self._reap()
            if self._supervisor in ready:
                data, descriptors = self._receive()
                if not data:
                    return None
                packet = decode(data)
                if isinstance(packet, Preload):
                    preload(packet.kinds)
                elif isinstance(packet, UseLog):
                    take_output(*descriptors)
                elif isinstance(packet, Start) and not self._fork():
                    self._leave(*descriptors)
                    return packet
                for descriptor in descriptors:
                    os.close(descriptor)

    def _receive(self) -> tuple[bytes, list[int]]:
        """Return the next packet, and its descriptors; nothing when the supervisor is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._supervisor, PACKET_MAX, 1)
        except ConnectionResetError:  # it had not read all
            return b"", []
        return data, descriptors

    def _fork(self) -> int:
        """Fork, and answer. Returns 0 in the fork."""
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(Refused(error.strerror or str(error)))
            return -1
        if pid:
            handle = os.pidfd_open(pid)
            self._tell(Started(pid), handle)
            os.close(handle)
        return pid

    def _reap(self) -> None:
        """Tell of each service that has ended."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                self._tell(Ended(found[0], os.waitstatus_to_exitcode(found[1])))

    def _tell(self, packet: Started | Refused | Ended, *descriptors: int) -> None:
        """Send a packet. A supervisor that is gone is seen by `run`."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self._supervisor, [encode(packet)], descriptors)

    def _leave(self, log: int) -> None:
        """Become a process of its own, with its output in a log."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (self._supervisor, self._ended, self._wake_up):
            one.close()
        os.setsid()
        take_output(log)
        os.close(log)


def take_output(log: int) -> None:
    """Write to a log from now on."""
    for standard in (OUTPUT, ERRORS):
        os.dup2(log, standard)


def import_kinds(kinds: Iterable[str]) -> None:
    """Import what every device needs, and kinds of devices.

    A package that can't be imported is the affair of its service, which says so.
    """
    import_module(DEVICE)
    for name in kinds:
        with contextlib.suppress(Exception):
            find_kind(name)


def preload(kinds: Iterable[str]) -> None:
    """Import what most services need, and kinds of devices, and keep all that is imported."""
    import_kinds(kinds)
    import_module(KERNEL)
    readable_paths()
    gc.freeze()  # looking for garbage in it would write to pages that forks share


def run(supervisor: socket.socket) -> Any:
    """Serve a supervisor until it is gone; in a fork, run the service."""
    with supervisor:
        request = Template(supervisor).run()
    if request is None:
        return 0
    sys.argv = [request.program, *request.arguments]
    gc.enable()
    setproctitle(" ".join(sys.argv))
    return import_module(request.module).main()
