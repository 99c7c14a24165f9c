"""A rig for virtmesh_native.Board: a scripted device behind a socket pair, and small programs."""

from __future__ import annotations

import os
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from virtmesh_native import Board, Exit

from tests.support.native_rig import make_eventfd, make_memfd

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

RAM = 0x8000_0000
RAM_SIZE = 1 << 20
SLOT = 0x1000_1000
SLOT_SIZE = 0x1000
WRITE = 0x80
LINE, REFUSED = 1, 2

LUI_T0_SLOT = 0x1000_12B7
LW_A0_STATUS = 0x0702_A503
"""lw a0, 0x70(t0)"""
LI_A1_3 = 0x0030_0593
SW_A1_STATUS = 0x06B2_A823
"""sw a1, 0x70(t0)"""
WFI = 0x1050_0073
SPIN = 0x0000_006F
BACK_4 = 0xFFDF_F06F
POWEROFF = (0x0010_0337, 0x0000_53B7, 0x5553_8393, 0x0073_2023, SPIN)
"""lui t1, 0x100; lui t2, 5; addi t2, t2, 0x555; sw t2, 0(t1); j ."""
READ_STATUS = (LUI_T0_SLOT, LW_A0_STATUS, *POWEROFF)
WRITE_STATUS = (LUI_T0_SLOT, LI_A1_3, SW_A1_STATUS, *POWEROFF)

Access = tuple[int, int, int]
"""Offset, op and value."""


@dataclass(frozen=True)
class Answer:
    """An answer of a register channel, without its tag."""

    values: tuple[int, ...] = ()
    flags: int = 0
    causes: int = 0
    sequence: int = 0
    text: bytes = b""

    def encode(self, tag: int) -> bytes:
        """Make the packet."""
        count = len(self.values)
        head = struct.pack("<IIIIQ", tag, count, self.flags, self.causes, self.sequence)
        return head + struct.pack(f"<{count}Q", *self.values) + self.text


@dataclass
class Device:
    """A device in a thread of its own, which answers as a function says; None ends it."""

    answer: Callable[[list[Access]], Answer | None]
    accesses: list[Access] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the thread."""
        self.channel, self._end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line = make_eventfd()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Self:
        """Leave it running."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the connection and the thread."""
        self._end.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.channel.close()
        self._end.close()
        os.close(self.line)

    def connect(self, board: Board, slot: int = 0, kicks: tuple[int, ...] = ()) -> None:
        """Connect it to a slot."""
        board.connect(slot, self.channel.fileno(), self.line, kicks)

    def _serve(self) -> None:
        while packet := self._end.recv(1 << 17):
            tag, count = struct.unpack_from("<II", packet)
            entries = list(struct.iter_unpack("<IB3xQ", packet[8:]))
            assert len(entries) == count
            self.accesses += entries
            answer = self.answer(entries)
            if answer is None:
                self._end.shutdown(socket.SHUT_RDWR)
                return
            self._end.send(answer.encode(tag))


def answer_all(value: int) -> Callable[[list[Access]], Answer]:
    """Answer each access with the same value."""
    return lambda accesses: Answer((value,) * len(accesses))


def make_board(
    *program: int, plic_rule: str = "spec", time: str = "real", answer_limit_s: float | None = None
) -> Board:
    """Make a board with one virtio slot, about to run a program of 32-bit instructions."""
    descriptor = make_memfd(RAM_SIZE)
    try:
        board = Board(
            descriptor,
            RAM,
            RAM_SIZE,
            plic_rule=plic_rule,
            time=time,
            answer_limit_s=answer_limit_s,
        )
    finally:
        os.close(descriptor)
    assert board.add_slot(SLOT, SLOT_SIZE, 1) == 0
    board.write_physical(RAM, struct.pack(f"<{len(program)}I", *program))
    board.reset(RAM)
    return board


def run_in_thread(board: Board) -> tuple[threading.Thread, list[Exit]]:
    """Run a board in a thread; its exit is in the list then."""
    exits: list[Exit] = []
    thread = threading.Thread(target=lambda: exits.append(board.run()))
    thread.start()
    return thread, exits


def lui(register: int, upper: int) -> int:
    """Load the upper 20 bits; the others are 0."""
    return upper << 12 | register << 7 | 0x37


def addi(register: int, source: int, immediate: int) -> int:
    """Add 12 bits, signed."""
    return (immediate & 0xFFF) << 20 | source << 15 | register << 7 | 0x13


def load(width: int, register: int, offset: int, base: int) -> int:
    """Load 1, 4 or 8 bytes, from base + offset."""
    code = {1: 4, 4: 2, 8: 3}[width]
    return (offset & 0xFFF) << 20 | base << 15 | code << 12 | register << 7 | 0x03


def store(width: int, register: int, offset: int, base: int) -> int:
    """Store 1, 4 or 8 bytes, to base + offset."""
    code = {1: 0, 4: 2, 8: 3}[width]
    high, low = offset >> 5 & 0x7F, offset & 0x1F
    return high << 25 | register << 20 | base << 15 | code << 12 | low << 7 | 0x23


def csrw(csr: int, source: int) -> int:
    """Write a CSR."""
    return csr << 20 | source << 15 | 1 << 12 | 0x73
