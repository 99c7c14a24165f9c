"""Storage that answers when a test says so: the system calls of a disk's engine wait at a gate.

A seccomp filter sends calls of one thread, and of the threads that it starts, to this process
(SECCOMP_RET_USER_NOTIF, seccomp_unotify(2)); everything else goes on as ever. So a disk that is
made under `gated` has an engine whose flushes, or whose reads and writes, wait as they do for slow
storage. What its queues execute at once, on their own threads, does not wait.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Queue
from typing import TypeVar

Made = TypeVar("Made")

_CALLS = {
    "x86_64": {"seccomp": 317, "fdatasync": 75, "preadv2": 327, "pwritev2": 328, "statx": 332},
    "aarch64": {"seccomp": 277, "fdatasync": 83, "preadv2": 286, "pwritev2": 287, "statx": 291},
}
"""Numbers of system calls (asm/unistd.h)."""
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_RET_ALLOW, _RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
"""BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K (linux/bpf_common.h)."""
_NOTIFICATION = struct.Struct("=QII iIQ6Q")
"""struct seccomp_notif: id, pid, flags; struct seccomp_data: nr, arch, ip, args."""
_ANSWER = struct.Struct("=QqiI")
"""struct seccomp_notif_resp: id, val, error, flags."""
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
"""SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND (linux/seccomp.h)."""
_CONTINUE = 1
WAIT_SECONDS = 20.0


@dataclass(frozen=True)
class HeldCall:
    """A system call at the gate."""

    gate: StorageGate
    id: int

    def let_go(self) -> None:
        """Have the kernel execute it, once."""
        if self.id in self.gate.waiting:
            self.gate.waiting.remove(self.id)
            answer = bytearray(_ANSWER.pack(self.id, 0, 0, _CONTINUE))
            fcntl.ioctl(self.gate.listener, _SEND, answer)


class StorageGate:
    """The gate of one thread. `held` has the calls that wait, in the order in which they came."""

    def __init__(self, *names: str) -> None:
        self.listener = _listen([_numbers()[name] for name in names])
        self.held: Queue[HeldCall] = Queue()
        self.waiting: set[int] = set()
        """Calls that were not let go, taken out of `held` or not."""
        self._open = False
        threading.Thread(target=self._receive, daemon=True).start()

    def next(self) -> HeldCall:
        """Wait for a call. Errors: queue.Empty."""
        return self.held.get(timeout=WAIT_SECONDS)

    def open(self) -> None:
        """Let go of the calls that wait, and of each that comes."""
        self._open = True
        for call in tuple(self.waiting):
            HeldCall(self, call).let_go()

    def _receive(self) -> None:
        """Take calls until no filtered thread is left."""
        while True:
            buffer = bytearray(_NOTIFICATION.size)
            try:
                fcntl.ioctl(self.listener, _RECEIVE, buffer)
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                os.close(self.listener)
                return
            held = HeldCall(self, _NOTIFICATION.unpack(buffer)[0])
            self.waiting.add(held.id)
            if self._open:
                held.let_go()
            else:
                self.held.put(held)


def gated(make: Callable[[], Made], *names: str) -> tuple[Made, StorageGate]:
    """Make something on a new thread; these calls of threads that it starts wait at a gate."""
    results: Queue[tuple[Made, StorageGate] | BaseException] = Queue()

    def run() -> None:
        try:
            gate = StorageGate(*names)
            results.put((make(), gate))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
            results.put(error)

    threading.Thread(target=run).start()
    result = results.get(timeout=WAIT_SECONDS)
    if isinstance(result, BaseException):
        raise result
    return result


def _numbers() -> dict[str, int]:
    """Return the numbers of system calls of this machine."""
    return _CALLS[platform.machine()]


def _listen(calls: list[int]) -> int:
    """Filter the calling thread: return the descriptor from which its calls are received."""
    # Load the number; for each call, jump to the last instruction if it is that one.
    lines = [(_LOAD, 0, 0, 0)]
    lines += [(_JUMP_IF_EQUAL, len(calls) - index, 0, number) for index, number in enumerate(calls)]
    lines += [(_RETURN, 0, 0, _RET_ALLOW), (_RETURN, 0, 0, _RET_USER_NOTIF)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(lines), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    listener = libc.syscall(_numbers()["seccomp"], _SET_MODE_FILTER, _NEW_LISTENER, program)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(listener)
