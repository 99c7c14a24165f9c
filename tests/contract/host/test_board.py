"""A RISC-V board on the register channels of real device services."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from virtmesh_native import Board

from tests.contract.conftest import Served
from tests.support.board_rig import (
    POWEROFF,
    RAM,
    SPIN,
    WFI,
    addi,
    csrw,
    load,
    lui,
    make_board,
    store,
)
from tests.support.line_end import LineEnd
from tests.support.raw_channel import RawChannel, raw_channel
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.uart.spec import Ier, Registers
from virtmesh_common.virtio import mmio

UART, UART_SIZE, UART_SOURCE = 0x1000_0000, 0x100, 10
PLACES = Registers()
ZERO, T0, T1, A0, A1 = 0, 5, 6, 10, 11
MSTATUS, MIE, MTVEC = 0x300, 0x304, 0x305
HANDLER = 0x100
"""Where the trap handler is, from the start of RAM."""

AUIPC_T0 = 0x0000_0297
"""auipc t0, 0: the start of RAM, as the first instruction."""
SET_UP = (
    AUIPC_T0,
    addi(T0, T0, HANDLER),
    csrw(MTVEC, T0),
    # Priority 1 for the source, which is enabled for machine mode.
    lui(T0, 0xC000),
    addi(T1, ZERO, 1),
    store(4, T1, 4 * UART_SOURCE, T0),
    lui(T0, 0xC002),
    addi(T1, ZERO, 1 << UART_SOURCE),
    store(4, T1, 0, T0),
    # 8 data bits, and the interrupt of received data.
    lui(T0, UART >> 12),
    addi(T1, ZERO, 3),
    store(1, T1, PLACES.lcr.offset, T0),
    addi(T1, ZERO, int(Ier.ERBFI)),
    store(1, T1, PLACES.ier.offset, T0),
    # External interrupts of machine mode.
    addi(T1, ZERO, 0x7FF),
    addi(T1, T1, 1),
    csrw(MIE, T1),
    addi(T1, ZERO, 8),
    csrw(MSTATUS, T1),
    WFI,
    0xFFDF_F06F,  # j -4
)
ECHO = (
    # a0: source; a1: character, which is sent back.
    lui(T0, 0xC200),
    load(4, A0, 4, T0),
    lui(T1, UART >> 12),
    load(1, A1, PLACES.rbr.offset, T1),
    store(1, A1, PLACES.rbr.offset, T1),
    store(4, A0, 4, T0),
    # The second claim: the line fell with the read.
    load(4, A0, 4, T0),
    *POWEROFF,
)


def connect(board: Board, slot: int, raw: RawChannel) -> None:
    """Connect an attached device to a slot."""
    board.connect(slot, raw.connection.fileno(), raw.line, [])


async def test_a_guest_echoes_a_character(
    serve: Callable[..., AbstractAsyncContextManager[Served]],
) -> None:
    """It sleeps until the character comes, and takes one interrupt; the read lowers the line."""
    port = UartDevice("serial", UartOptions())
    end = LineEnd(port.line)
    program = [*SET_UP, *[SPIN] * (HANDLER // 4 - len(SET_UP)), *ECHO]
    board = make_board(*program)
    slot = board.add_slot(UART, UART_SIZE, UART_SOURCE, kind="uart")
    async with serve(port) as served, raw_channel(served.handover, served.channel) as raw:
        connect(board, slot, raw)
        run = asyncio.create_task(asyncio.to_thread(board.run))
        while not end.formats:
            await end.news()
        end.line.send_now(b"x")
        assert (await run).kind == "poweroff"
        assert await end.until(1) == b"x"
    registers, stats = board.registers(), board.stats()
    assert (registers["x10"], registers["x11"]) == (0, ord("x"))
    assert (stats["interrupts"], stats["spurious"], stats["mmio_refused"]) == (1, 0, 0)
    lcr, ier = PLACES.lcr.offset, PLACES.ier.offset
    assert board.saved(slot) == [(lcr, 1, 3), (ier, 1, int(Ier.ERBFI))]


async def test_a_device_is_brought_to_where_the_one_before_was(served: Served) -> None:
    """By what was saved of the registers: status, features and a queue."""
    board = make_board()
    writes = [
        (mmio.STATUS, 1),
        (mmio.STATUS, 3),
        (mmio.DRIVER_FEATURES_SEL, 1),
        (mmio.DRIVER_FEATURES, 1),
        (mmio.STATUS, 0xB),
        (mmio.QUEUE_SEL, 0),
        (mmio.QUEUE_SIZE, 8),
        (mmio.QUEUE_DESC_LOW, RAM),
        (mmio.QUEUE_DRIVER_LOW, RAM + 0x1000),
        (mmio.QUEUE_DEVICE_LOW, RAM + 0x2000),
        (mmio.QUEUE_READY, 1),
        (mmio.STATUS, 0xF),
    ]
    async with raw_channel(served.handover, served.channel) as raw:
        connect(board, 0, raw)
        for register, value in writes:
            await asyncio.to_thread(board.access, 0, register.offset, 4, value)
    board.disconnect(0, absent=False)
    while (await served.control.GetStatus(device_pb2.GetStatusRequest())).attached:
        pass
    async with raw_channel(served.handover, served.channel) as raw:
        connect(board, 0, raw)
        assert await asyncio.to_thread(board.access, 0, mmio.STATUS.offset, 4) == 0
        for write in board.saved(0):
            await asyncio.to_thread(board.access, 0, *write)
        assert await asyncio.to_thread(board.access, 0, mmio.STATUS.offset, 4) == 0xF
        assert await asyncio.to_thread(board.access, 0, mmio.QUEUE_READY.offset, 4) == 1
    board.disconnect(0, absent=True)
