"""The supervisor's end of a template."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Self

from virtmesh.local.module_process import module_argv
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
from virtmesh_common.errors import BadMachine
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from typing import IO

UNKNOWN = 255
"""Exit status of a service whose template has ended before it: it was told to nobody."""
ANSWER_SECONDS = 30.0
"""How long a template may take to fork, with what it still imports, before it is killed."""
END_SECONDS = 1.0
"""How long a template may take to end before it is killed."""


class Process:
    """A service that was forked. Its pidfd never means another process."""

    def __init__(self, pid: int, handle: int) -> None:
        self.pid = pid
        self.handle = handle
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Wait for its end; returns the exit status."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if not self._ended.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.handle, number)

    def note_end(self, status: int) -> None:
        """Take note of its end."""
        if not self._ended.done():
            os.close(self.handle)
            self._ended.set_result(status)


class Template:
    """A process that imports while others work, and forks services.

    It may be made before there is an event loop; the loop of the first `start` is its own.
    """

    def __init__(self, forked: tuple[socket.socket, int] | None = None) -> None:
        """Begin a template, or take one that was forked: its socket and its process id."""
        self._socket, self._pid = forked or begin()
        self._processes: dict[int, Process] = {}
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[Process] | None = None
        self._is_read = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def preload(self, kinds: list[str]) -> None:
        """Let it import kinds of devices."""
        with contextlib.suppress(OSError):  # whoever starts a service begins another one
            self._socket.send(encode(Preload(kinds)))

    def use_log(self, descriptor: int) -> None:
        """Let it write its own errors to a log."""
        with contextlib.suppress(OSError):
            socket.send_fds(self._socket, [encode(UseLog())], [descriptor])

    async def start(self, request: Start, log: IO[bytes]) -> Process:
        """Fork a service whose output goes to `log`. Errors: BadMachine."""
        async with self._turn:
            asked = asyncio.create_task(self._start(request, log))
            try:
                return await asyncio.shield(asked)
            except asyncio.CancelledError:
                # It would run on, and nobody would know of it.
                with contextlib.suppress(BadMachine):
                    process = await asked
                    process.send_signal(signal.SIGKILL)
                    await process.wait()
                raise

    async def _start(self, request: Start, log: IO[bytes]) -> Process:
        """Fork a service, by another template if this one has ended. Errors: BadMachine."""
        try:
            return await self._ask(request, log)
        except OSError:  # it has ended, or was killed
            while self._is_read and self._read():
                pass
            if self._is_read:
                self._note_loss()
            self.close()
            self._socket, self._pid = begin()
        try:
            return await self._ask(request, log)
        except OSError as error:
            raise BadMachine(f"the process that starts services has ended: {error}") from error

    async def _ask(self, request: Start, log: IO[bytes]) -> Process:
        """Send a request, and wait for the answer. Errors: OSError, BadMachine."""
        loop = asyncio.get_running_loop()
        if not self._is_read:
            loop.add_reader(self._socket, self._read)
            self._is_read = True
        self._answer = loop.create_future()
        # Only one request is on its way, so the socket has room.
        try:
            socket.send_fds(self._socket, [encode(request)], [log.fileno()])
        except OSError:
            self._answer = None  # nobody waits for it
            raise
        with contextlib.suppress(TimeoutError):
            async with time_limit(ANSWER_SECONDS):
                return await asyncio.shield(self._answer)
        # Somebody has stopped it, or it hangs: without it nothing is started any more. An answer
        # that was on its way is read before its end is.
        os.kill(self._pid, signal.SIGKILL)
        return await self._answer

    def _read(self) -> bool:
        """Read a packet, if there is one; say whether there was."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, PACKET_MAX, 1)
        except BlockingIOError:
            return False
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._note_loss()
            return False
        packet = decode(data)
        answer = self._answer
        if isinstance(packet, Ended):
            self._processes.pop(packet.pid).note_end(packet.status)
        elif answer is not None and not answer.done():
            if isinstance(packet, Started):
                process = Process(packet.pid, *descriptors)
                self._processes[packet.pid] = process
                answer.set_result(process)
            elif isinstance(packet, Refused):
                answer.set_exception(BadMachine(f"the host starts no process: {packet.why}"))
        return True

    def _note_loss(self) -> None:
        """Look after the services oneself: the template has ended, and tells nothing more."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        self._is_read = False
        for process in self._processes.values():
            loop.add_reader(process.handle, self._note_end_unseen, process)
        self._processes = {}
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("no answer"))

    def _note_end_unseen(self, process: Process) -> None:
        asyncio.get_running_loop().remove_reader(process.handle)
        process.note_end(UNKNOWN)

    def close(self) -> None:
        """Let it end. Its services, if there are any, go on."""
        if self._is_read:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                asyncio.get_running_loop().remove_reader(self._socket)
            self._is_read = False
        self._socket.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            handle = os.pidfd_open(self._pid)
            if not select.select([handle], [], [], END_SECONDS)[0]:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
            os.waitpid(self._pid, 0)


def begin() -> tuple[socket.socket, int]:
    """Begin a template in a process of its own; return its socket and its process id."""
    near, far = pair()
    with far:
        program = subprocess.Popen(  # noqa: S603 - our own module
            module_argv("virtmesh.local.template", str(far.fileno())),
            stdin=subprocess.DEVNULL,
            pass_fds=[far.fileno()],
            start_new_session=True,
        )
    program.returncode = 0  # whoever closes the template waits for it
    return near, program.pid


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the supervisor's end of a connection, and the template's."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)  # noqa: FBT003 - as socket has it
    return near, far
