"""A file of a FUSE file system whose server stops answering: what a hostile peer may hand over.

Whatever asks the file system something about the file waits until `thaw`: fstat, statfs, a page
fault, and the close of each descriptor. Only root may mount one without a helper.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

LOOKUP, GETATTR, OPEN, READ, INIT, OPENDIR = 1, 3, 14, 15, 26, 27
REQUEST = struct.Struct("<IIQQIIIHH")
ANSWER = struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<6Q10I")
MNT_DETACH = 2
TICK_SECONDS = 0.05
ENOSYS = 38
SIZE = 1 << 20


def attributes(node: int) -> bytes:
    """Describe the root folder, or the file."""
    mode = 0o40755 if node == 1 else 0o100666
    return ATTRIBUTES.pack(node, SIZE, SIZE // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


class FrozenFuse:
    """A mounted file system with one file, `file`; its server answers until `freeze`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._libc = ctypes.CDLL(None, use_errno=True)
        try:
            self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            pytest.skip("needs /dev/fuse")
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other"
        if self._libc.mount(b"frozen", os.fsencode(folder), b"fuse", 0, options.encode()):
            os.close(self._device)
            pytest.skip("needs leave to mount a file system")
        self._frozen = False
        self.read = threading.Event()
        """Set when somebody waits for data of the file."""
        self._thawed = False
        self._server = threading.Thread(target=self._serve, daemon=True)
        self._server.start()

    def open_frozen(self) -> int:
        """Open the file, and answer nothing from then on."""
        descriptor = os.open(self.folder / "file", os.O_RDWR | os.O_CLOEXEC)
        self._frozen = True
        return descriptor

    def thaw(self) -> None:
        """Fail everything that waits, and everything else."""
        device, self._thawed = self._device, True
        self._server.join()
        self._libc.umount2(os.fsencode(self.folder), MNT_DETACH)
        with suppress(OSError):
            os.close(device)
        # The kernel ends the connection when nobody has the device open.

    def _serve(self) -> None:
        """Answer, until nothing is to be answered any more."""
        device = os.dup(self._device)
        try:
            while not self._thawed:
                if not select.select([device], [], [], TICK_SECONDS)[0]:
                    continue
                self.handle(device, os.read(device, 1 << 18))
        except OSError:
            pass
        finally:
            os.close(device)

    def handle(self, device: int, request: bytes) -> None:
        """Answer a request, unless it is to wait."""
        _, code, unique, node, *_ = REQUEST.unpack_from(request)
        if not self._frozen:
            send(device, unique, answer(code, node))
        elif code == READ:
            self.read.set()


def send(device: int, unique: int, body: bytes | None) -> None:
    """Answer a request; without a body, that it is not known."""
    error = 0 if body is not None else -ENOSYS
    body = body or b""
    os.write(device, ANSWER.pack(ANSWER.size + len(body), error, unique) + body)


def answer(code: int, node: int) -> bytes | None:
    """Return the answer to a request; None for one that is not known."""
    if code == INIT:
        return struct.pack("<4I2H2I2H8I", 7, 31, 4096, 0, 1, 1, 4096, 1, 1, 0, *(8 * [0]))
    if code == LOOKUP:
        return struct.pack("<4Q2I", 2, 0, 0, 0, 0, 0) + attributes(2)
    if code == GETATTR:
        return struct.pack("<Q2I", 0, 0, 0) + attributes(node)
    if code in {OPEN, OPENDIR}:
        return struct.pack("<Q2I", 1, 0, 0)
    return None


@contextmanager
def frozen_fuse(folder: Path) -> Iterator[FrozenFuse]:
    """Mount one; at the end nothing waits for it any more."""
    mounted = FrozenFuse(folder)
    try:
        yield mounted
    finally:
        mounted.thaw()
