"""virtmesh_native.Board: runs, slots, devices that go away, and what a debugger sees."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from virtmesh_native import Board

from tests.support.board_rig import (
    BACK_4,
    POWEROFF,
    RAM,
    RAM_SIZE,
    READ_STATUS,
    REFUSED,
    SLOT,
    SLOT_SIZE,
    SPIN,
    WFI,
    WRITE,
    WRITE_STATUS,
    Access,
    Answer,
    Device,
    answer_all,
    make_board,
    run_in_thread,
)
from tests.support.native_rig import make_eventfd, make_memfd
from virtmesh_common.errors import (
    BadDoorbell,
    DeviceLost,
    MemoryRefused,
    MemoryUnsealed,
    RegisterError,
)

ECALL, NOP = 0x73, 0x13
CAUSE_ECALL_M = 11
CTRL_C = """
import os, signal, threading
from tests.support.board_rig import make_board
board = make_board({program})
def interrupt():
    while not board.stats()["instructions"]:
        pass
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
try:
    board.run()
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_load_reads_a_register_of_the_device() -> None:
    """The value goes to the guest, and the access to the log, with the PC."""
    board = make_board(*READ_STATUS)
    board.access_log(on=True)
    with Device(answer_all(0xF)) as device:
        device.connect(board)
        end = board.run()
    assert (end.kind, board.registers()["x10"]) == ("poweroff", 0xF)
    assert device.accesses == [(0x70, 4, 0)]
    [(slot, pc, offset, op, value, _time)] = board.drain_accesses()
    assert (slot, pc, offset, op, value) == (0, RAM + 4, 0x70, 4, 0xF)
    assert board.drain_accesses() == []
    assert board.stats()["mmio_accesses"] == 1


def test_a_refused_load_gives_0_and_is_a_violation() -> None:
    """As on QEMU: never a trap."""

    def refuse(accesses: list[Access]) -> Answer:
        return Answer(flags=REFUSED, text=b"NOT_READABLE\0no") if accesses else Answer()

    board = make_board(*READ_STATUS)
    with Device(refuse) as device:
        device.connect(board)
        assert board.run().kind == "poweroff"
    assert board.registers()["x10"] == 0
    [(slot, reason, message, count, pc, *_)] = board.violations()
    assert (slot, reason, message, count, pc) == (0, "NOT_READABLE", "no", 1, RAM + 4)


@pytest.mark.parametrize(
    "program", [pytest.param((SPIN,), id="spins"), pytest.param((WFI, BACK_4), id="sleeps")]
)
def test_a_kick_ends_a_run_in_another_thread(program: tuple[int, ...]) -> None:
    """While the guest computes, and while it sleeps; meanwhile other calls say so."""
    board = make_board(*program)
    thread, exits = run_in_thread(board)
    while not board.stats()["instructions"] and not board.stats()["wfi_ns"]:
        try:
            board.reset(RAM)
        except RuntimeError as refusal:
            assert "kick it first" in str(refusal)  # noqa: PT017 - it comes or not, as threads run
            break
    board.kick()
    thread.join()
    assert [end.kind for end in exits] == ["kick"]


def test_a_kick_ends_the_wait_for_a_device() -> None:
    """The access stays under way: the device executes it once, and the guest gets its answer."""
    asked, release = threading.Event(), threading.Event()

    def wait(accesses: list[Access]) -> Answer:
        if accesses:
            asked.set()
            release.wait()
        return Answer((5,) * len(accesses))

    board = make_board(*READ_STATUS)
    with Device(wait) as device:
        device.connect(board)
        thread, exits = run_in_thread(board)
        asked.wait()
        board.kick()
        thread.join()
        assert [end.kind for end in exits] == ["kick"]
        release.set()
        assert board.run().kind == "poweroff"
    assert len(device.accesses) == 1
    assert board.registers()["x10"] == 5


@pytest.mark.parametrize(
    "program", [pytest.param((SPIN,), id="spins"), pytest.param((WFI, BACK_4), id="sleeps")]
)
def test_ctrl_c_ends_a_run_in_the_main_thread(program: tuple[int, ...]) -> None:
    """Python's signal handlers run meanwhile."""
    code = CTRL_C.format(program=", ".join(map(str, program)))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.returncode) == ("interrupted\n", 0), done.stderr


def test_a_device_that_dies_is_lost_and_the_next_one_takes_its_place() -> None:
    """The guest sees a delay: the access is made again, after what was saved."""
    board = make_board(*WRITE_STATUS, *READ_STATUS)
    with Device(lambda accesses: None if accesses else Answer()) as device:
        device.connect(board)
        end = board.run()
        assert (end.kind, end.slot, end.pc, end.address) == ("lost", 0, RAM + 8, SLOT)
        assert "ended the connection" in end.message
    with Device(answer_all(0)) as device:
        device.connect(board)
        for offset, width, value in board.saved(0):
            board.access(0, offset, width, value)
        assert board.run().kind == "poweroff"
    assert device.accesses == [(0x70, 4 | WRITE, 3)]
    assert board.saved(0) == [(0x70, 4, 3)]


def test_a_silent_device_is_lost() -> None:
    """After the time limit of an answer."""
    board = make_board(*READ_STATUS, answer_limit_s=0.02)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line = make_eventfd()
    board.connect(0, here.fileno(), line, [])
    end = board.run()
    assert end.kind == "lost"
    assert "did not answer" in end.message
    with pytest.raises(ValueError, match="slot 0 has no device"):
        board.access(0, 0x70, 4)
    here.close()
    there.close()
    os.close(line)


def test_an_absent_device_reads_as_a_placeholder() -> None:
    """DeviceID 0, which drivers pass over; and to touch a lost one ends the run."""
    board = make_board(*READ_STATUS)
    board.disconnect(0, absent=False)
    assert board.run().kind == "lost"
    board.disconnect(0, absent=True)
    assert board.run().kind == "poweroff"
    assert board.registers()["x10"] == 0


def test_registers_are_written_between_runs() -> None:
    """As a boot ROM does; what was written is saved too."""
    board = make_board()
    with Device(answer_all(9)) as device:
        device.connect(board)
        assert board.access(0, 0x70, 4) == 9
        board.access(0, 0x70, 4, 1)
        with pytest.raises(ValueError, match="width"):
            board.access(0, 0x70, 3)
    assert board.saved(0) == [(0x70, 4, 1)]
    with pytest.raises(DeviceLost):
        board.access(0, 0x70, 4)


def test_a_reset_forgets_what_the_guest_wrote() -> None:
    """So the next guest's device is not set up for the guest before."""
    board = make_board()
    with Device(answer_all(9)) as device:
        device.connect(board)
        board.access(0, 0x70, 4, 1)
        assert board.saved(0) == [(0x70, 4, 1)]
        board.reset(RAM)
        assert board.saved(0) == []


def test_a_refused_access_between_runs_raises() -> None:
    """With the device's reason."""
    board = make_board()
    refusal = Answer(flags=REFUSED, text=b"BAD_WIDTH\0not 1 byte")
    with Device(lambda _: refusal) as device:
        device.connect(board)
        with pytest.raises(RegisterError, match="BAD_WIDTH: not 1 byte"):
            board.access(0, 0, 1)


def test_a_notification_signals_the_eventfd_of_its_queue() -> None:
    """Nothing is sent to the device."""
    # sw zero, 0x50(t0)
    board = make_board(READ_STATUS[0], 0x0402_A823, *POWEROFF)
    kick = make_eventfd()
    with Device(answer_all(0)) as device:
        device.connect(board, kicks=(kick,))
        assert board.run().kind == "poweroff"
    assert device.accesses == []
    assert os.eventfd_read(kick) == 1
    assert board.stats()["notifications"] == 1
    os.close(kick)


def test_registers_and_memory_are_there_for_a_debugger() -> None:
    """Steps, registers by name, memory by address."""
    board = make_board(*WRITE_STATUS)
    end = board.step(2)
    assert (end.kind, end.pc, board.registers()["pc"]) == ("budget", RAM + 8, RAM + 8)
    assert board.registers()["x11"] == 3
    board.set_register("x11", 77)
    board.set_register("pc", RAM)
    assert (board.registers()["x11"], board.registers()["pc"]) == (77, RAM)
    board.write_virtual(RAM + 0x1FFE, b"over")
    assert board.read_physical(RAM + 0x1FFE, 4) == board.read_virtual(RAM + 0x1FFE, 4) == b"over"
    assert board.translate(RAM) == RAM


def test_a_step_is_one_instruction_though_it_traps() -> None:
    """It ends at the handler's first; an interrupt that is pending waits if it is to wait."""
    board = make_board(ECALL, *[NOP] * 7)
    handler = RAM + 16
    board.set_register("mtvec", handler)
    assert board.step().pc == handler
    for register, value in (("mie", 2), ("mip", 2), ("mstatus", 8)):
        board.set_register(register, value)
    assert board.step(interrupts=False).pc == handler + 4
    assert board.registers()["mcause"] == CAUSE_ECALL_M
    assert board.step().pc == handler + 4
    assert board.registers()["mcause"] == 1 << 63 | 1


@pytest.mark.parametrize("name", ["x32", "f-1", "y1", "", "mhartid", "x"])
def test_no_other_register_is_written(name: str) -> None:
    """Unknown, and read-only ones."""
    with pytest.raises(ValueError, match="there is no register"):
        make_board().set_register(name, 1)


def test_memory_outside_ram_is_refused() -> None:
    """Also at its end, and for a length beyond reason."""
    board = make_board()
    for address, length in ((0, 1), (RAM + RAM_SIZE - 1, 2), (RAM, 1 << 62)):
        with pytest.raises(MemoryRefused):
            board.read_physical(address, length)
        with pytest.raises(MemoryRefused):
            board.read_virtual(address, length)
    with pytest.raises(MemoryRefused):
        board.write_physical(RAM + RAM_SIZE - 1, b"ab")


def test_bad_boards_are_refused() -> None:
    """Memory that could shrink, and words that are none."""
    descriptor = make_memfd(RAM_SIZE, sealed=False)
    with pytest.raises(MemoryUnsealed):
        Board(descriptor, RAM, RAM_SIZE)
    os.close(descriptor)
    descriptor = make_memfd(RAM_SIZE)
    with pytest.raises(ValueError, match="plic_rule"):
        Board(descriptor, RAM, RAM_SIZE, plic_rule="other")
    with pytest.raises(ValueError, match="time"):
        Board(descriptor, RAM, RAM_SIZE, time="other")
    with pytest.raises(ValueError, match="answer_limit_s"):
        Board(descriptor, RAM, RAM_SIZE, answer_limit_s=-1)
    with pytest.raises(ValueError, match="56 address bits"):
        Board(descriptor, 1 << 56, RAM_SIZE)
    os.close(descriptor)


def test_bad_slots_and_devices_are_refused() -> None:
    """The board is as before then."""
    board = make_board()
    with pytest.raises(ValueError, match="overlaps slot 0"):
        board.add_slot(SLOT, SLOT_SIZE, 2)
    with pytest.raises(ValueError, match="source 1 is taken"):
        board.add_slot(SLOT + SLOT_SIZE, SLOT_SIZE, 1)
    with pytest.raises(ValueError, match="kind"):
        board.add_slot(SLOT + SLOT_SIZE, SLOT_SIZE, 2, kind="disk")
    with pytest.raises(ValueError, match="there is no slot 7"):
        board.saved(7)
    with Device(answer_all(0)) as device:
        with pytest.raises(BadDoorbell):
            board.connect(0, device.channel.fileno(), device.channel.fileno(), [])
        with pytest.raises(BadDoorbell):
            board.connect(0, device.channel.fileno(), device.line, [-1])
        with pytest.raises(ValueError, match="SOCK_SEQPACKET"):
            board.connect(0, device.line, device.line, [])


def test_a_signal_handler_may_kick() -> None:
    """From the main thread, while another one runs the board."""
    board = make_board(SPIN)
    before = signal.signal(signal.SIGUSR1, lambda *_: board.kick())
    try:
        thread, exits = run_in_thread(board)
        signal.raise_signal(signal.SIGUSR1)
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [end.kind for end in exits] == ["kick"]
