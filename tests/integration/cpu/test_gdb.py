"""Debuggers attach by GDB's remote serial protocol, and leave the machine running."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import eventually, own_folder
from tests.support.riscv.small_kernels import COMPILER, build, has_compiler
from tests.support.rsp import RspClient
from virtmesh.cpu.gdb.points import POINTS_MAX
from virtmesh.cpu.gdb.session import READ_MAX

SECONDS = 20.0

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cli import Cli
    from virtmesh_client.cpu.control import Cpu

COUNTER = 0x8070_0000
COUNT = """
    .globl count
    li s0, 0x80700000
count:
    ld t2, (s0)
    addi t2, t2, 1
    sd t2, (s0)
    j count
"""
PC = 0x20
TOLD = "told"
RAM_END = 0x8800_0000
UART = 0x1000_0000
CODE = COUNTER + 0x2000
REBOOT = struct.pack("<4I", 0x001002B7, 0x00007337, 0x77730313, 0x0062A023).hex()
"""lui t0, 0x100; li t1, 0x7777; sw t1, (t0)"""
POWEROFF = struct.pack("<4I", 0x001002B7, 0x00005337, 0x55530313, 0x0062A023).hex()
"""lui t0, 0x100; li t1, 0x5555; sw t1, (t0)"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Cli]:
    """Start a kernel that counts, with a port for debuggers, before its first instruction."""
    if not has_compiler():
        pytest.skip(f"{COMPILER} is not installed")
    with own_folder() as cli:
        kernel = build(cli.folder, COUNT)
        result = cli("boot", "--detach", "--halted", kernel, "--gdb", 0)
        assert result.returncode == 0, result.stderr
        (cli.folder / TOLD).write_text(result.stdout)
        yield cli


@pytest.fixture
def cpu(machine: Cli) -> Iterator[Cpu]:
    """Connect to the CPU, beside the debugger; the kernel boots anew, and runs."""
    with virtmesh_client.connect(machine.state.address) as connection:
        cpu = connection.cpu()
        cpu.stop()
        cpu.reset()
        cpu.start()
        yield cpu


@pytest.fixture
def port(machine: Cli, cpu: Cpu) -> int:
    """Return the port for debuggers; the kernel counts already."""
    eventually(lambda: counted(cpu))
    found = re.search(r"to debug: .* 127\.0\.0\.1:(\d+)", (machine.folder / TOLD).read_text())
    assert found is not None
    return int(found[1])


def counted(cpu: Cpu) -> int:
    """Return how far the kernel has counted."""
    return int.from_bytes(cpu.read_memory(COUNTER, 8), "little")


def address_of(machine: Cli, name: str) -> int:
    """Return the address of a symbol of the kernel."""
    listed = subprocess.run(
        ["riscv64-linux-gnu-nm", str(machine.folder / "kernel.elf")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return next(int(line.split()[0], 16) for line in listed.splitlines() if line.endswith(name))


def number(digits: str) -> int:
    """Return a little-endian number in hexadecimal digits."""
    return int.from_bytes(bytes.fromhex(digits), "little")


def test_a_debugger_sees_registers_and_memory(port: int) -> None:
    """The description says where each register is; those of the packet g are in its order."""
    with RspClient(port) as gdb:
        assert "qXfer:features:read+" in gdb.ask("qSupported:swbreak+")
        described = gdb.ask("qXfer:features:read:target.xml:0,3000")
        assert "<architecture>riscv:rv64</architecture>" in described
        assert gdb.ask("?") == "T02"
        registers = bytes.fromhex(gdb.ask("g"))
        x = struct.unpack_from("<33Q", registers)
        assert (len(registers), x[8]) == (65 * 8, COUNTER)
        assert number(gdb.ask(f"p{PC:x}")) == x[PC]
        assert gdb.ask(f"M{COUNTER:x},8:0001000000000000") == "OK"
        assert gdb.ask(f"m{COUNTER:x},8") == "0001000000000000"
        assert gdb.ask("m1000,4") == "E01"
        assert gdb.ask("pffff") == "E01"


def test_a_breakpoint_a_step_and_ctrl_c(machine: Cli, port: int) -> None:
    """Each stop has its reason."""
    count = address_of(machine, " count")
    with RspClient(port) as gdb:
        assert gdb.ask(f"Z0,{count:x},2") == "OK"
        assert gdb.ask("c") == "T05swbreak:;"
        assert number(gdb.ask(f"p{PC:x}")) == count
        assert gdb.ask(f"z0,{count:x},2") == "OK"
        assert gdb.ask("s") == "T05"
        assert number(gdb.ask(f"p{PC:x}")) > count
        assert gdb.ask(f"Z2,{COUNTER:x},8") == "OK"
        assert gdb.ask("vCont;c") == f"T05watch:{COUNTER:x};"
        assert gdb.ask(f"z2,{COUNTER:x},8") == "OK"
        gdb.send("c")
        gdb.interrupt()
        assert gdb.receive() == "T02"


def test_a_register_is_changed(port: int) -> None:
    """By P; the next instructions see it."""
    with RspClient(port) as gdb:
        value = struct.pack("<Q", COUNTER + 64).hex()
        assert gdb.ask(f"P8={value}") == "OK"
        assert gdb.ask("p8") == value


def test_a_debugger_that_vanishes_leaves_the_machine_running(
    machine: Cli, port: int, cpu: Cpu
) -> None:
    """Its breakpoints go with it."""
    with RspClient(port) as gdb:
        gdb.ask(f"Z0,{address_of(machine, ' count'):x},2")
        assert cpu.status().state == "stopped"
    before = counted(cpu)

    eventually(lambda: counted(cpu) > before)
    assert cpu.status().state == "running"


def test_garbage_does_no_harm(port: int, cpu: Cpu) -> None:
    """A stub takes what it understands, and hangs up on a packet without an end."""
    with RspClient(port) as gdb:
        assert gdb.ask("?")
        for text in ("", "q", "vCont;", "m", "mzz,4", "M1,2", "Zx", "G123", "P", "p", "X", "Hg0"):
            gdb.ask(text)
        gdb.socket.sendall(b"$" + b"a" * 40_000)
        with pytest.raises(ConnectionError):
            gdb.receive()

    eventually(lambda: cpu.status().state == "running")


def test_a_second_debugger_is_told_why_and_hung_up_on(port: int) -> None:
    """One at a time: two would not know of one another's breakpoints."""
    with RspClient(port) as first:
        assert first.ask("?") == "T02"
        with RspClient(port) as second:
            assert second.ask("qSupported") == "E.another debugger is attached to this machine"
            with pytest.raises(ConnectionError):
                second.ask("?")
        assert first.ask("?") == "T02"


def test_who_does_not_speak_the_protocol_leaves_the_guest_running(port: int, cpu: Cpu) -> None:
    """A port scanner, a browser, half a packet, packets with a wrong checksum: no debugger yet.

    Many of them at a time are hung up on, and those that are there don't keep a debugger out.
    """
    quiet = [socket.create_connection(("127.0.0.1", port), timeout=SECONDS) for _ in range(4)]
    for at, data in zip(quiet, (b"", b"GET / HTTP/1.1\r\n\r\n", b"$g", b"$g#00" * 9), strict=True):
        at.sendall(data)
    before = counted(cpu)
    eventually(lambda: counted(cpu) > before)
    assert cpu.status().state == "running"
    with RspClient(port) as debugger:
        assert debugger.ask("?") == "T02"
        many = [socket.create_connection(("127.0.0.1", port), timeout=SECONDS) for _ in range(8)]
        assert many[-1].recv(1) == b""
        assert debugger.ask("?") == "T02"
    for at in (*quiet, *many):
        at.close()
    eventually(lambda: cpu.status().state == "running")


def test_a_packet_within_a_request_of_a_browser_is_none(port: int, cpu: Cpu) -> None:
    """A web page can have a browser of this host send any text here."""
    body = b"$g#67$M80000000,1:00#9f"
    request = b"POST / HTTP/1.1\r\nContent-Type: text/plain\r\n\r\n" + body
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as browser:
        browser.sendall(request)
        with suppress(ConnectionResetError):
            assert browser.recv(1) == b""

    before = counted(cpu)
    eventually(lambda: counted(cpu) > before)
    assert cpu.status().state == "running"


def test_a_debugger_that_vanishes_within_a_packet_leaves_the_machine_running(
    machine: Cli, port: int, cpu: Cpu
) -> None:
    """Stopped at its breakpoint, in the middle of a write, with an interrupt that nobody awaits."""
    with RspClient(port) as gdb:
        gdb.ask(f"Z0,{address_of(machine, ' count'):x},2")
        assert gdb.ask("c") == "T05swbreak:;"
        gdb.interrupt()
        gdb.socket.sendall(b"$M80700000,8:00112233")
    eventually(lambda: cpu.status().state == "running")


def test_reads_end_where_ram_ends_and_touch_no_device(port: int, cpu: Cpu) -> None:
    """A device's register may change when it is read: its window is no memory to a debugger."""
    with RspClient(port) as gdb:
        before = cpu.stats()["mmio_accesses"]
        assert gdb.ask(f"m{RAM_END - 4:x},10") == "00000000"
        assert gdb.ask(f"m{UART:x},1") == "E01"
        assert gdb.ask(f"M{UART:x},1:41") == "E01"
        assert gdb.ask(f"M{RAM_END - 4:x},8:4142434445464748") == "E01"
        assert gdb.ask(f"m{RAM_END - 4:x},4") == "00000000"
        assert gdb.ask("mffffffffffffffff,ffffffffffffffff") == "E01"
        assert len(gdb.ask(f"m{COUNTER:x},ffffffff")) == 2 * READ_MAX
        assert cpu.stats()["mmio_accesses"] == before


def test_a_description_is_read_in_any_pieces(port: int) -> None:
    """Also from beyond its end, and with numbers of any size."""
    with RspClient(port) as gdb:
        ask = "qXfer:features:read:target.xml:"
        whole = gdb.ask(f"{ask}0,ffffff")
        assert gdb.ask(f"{ask}5,10") == "m" + whole[6:22]
        assert gdb.ask(f"{ask}{'f' * 4000},10") == "l"
        assert gdb.ask(f"{ask}0,0") == "m"
        assert gdb.ask(f"{ask}-1,5") == ""
        assert gdb.ask("qXfer:features:read:../../etc/passwd:0,fff") == ""
        assert gdb.ask("vFile:open:2f6574632f706173737764,0,0") == ""
        assert gdb.ask("vRun;2f62696e2f7368") == ""
        assert "<osabi>none</osabi>" in whole


def test_a_breakpoint_outlives_the_image_that_is_loaded_over_it(port: int) -> None:
    """Where nothing is mapped, and in RAM that is written later: it is compared, not patched in."""
    place = COUNTER + 0x1000
    with RspClient(port) as gdb:
        assert gdb.ask("Z0,ffffffc000000000,4") == "OK"
        assert gdb.ask(f"Z1,{place + 4:x},4") == "OK"
        assert gdb.ask(f"M{place:x},c:{'13000000' * 3}") == "OK"
        assert gdb.ask(f"c{place:x}") == "T05hwbreak:;"
        assert number(gdb.ask(f"p{PC:x}")) == place + 4
        assert gdb.ask(f"m{place:x},c") == "13000000" * 3
        assert gdb.ask("s") == "T05"
        assert number(gdb.ask(f"p{PC:x}")) == place + 8


def test_points_are_bounded_and_one_too_many_does_no_harm(port: int) -> None:
    """It is refused; the others still work, and can be taken away."""
    with RspClient(port) as gdb:
        assert {gdb.ask(f"Z0,{4 * at:x},4") for at in range(POINTS_MAX)} == {"OK"}
        assert gdb.ask("Z2,80700000,8") == "E01"
        assert gdb.ask("z0,0,4") == "OK"
        assert gdb.ask("Z2,80700000,8") == "OK"
        assert gdb.ask("c").startswith("T05watch:80700000")


def test_while_the_guest_runs_only_ctrl_c_stops_it(port: int) -> None:
    """A debugger that is out of step gets errors, and one stop for one Ctrl-C."""
    with RspClient(port) as gdb:
        gdb.send("c")
        assert [gdb.ask(text) for text in ("c", "s", "vCont;s:1", "P8=00")] == ["E01"] * 4
        gdb.interrupt()
        assert gdb.receive() == "T02"
        assert gdb.ask("vCont;t") == "E01"
        assert gdb.ask("s") == "T05"


def test_kill_and_detach_leave_the_guest_running(port: int, cpu: Cpu) -> None:
    """The machine is not the debugger's to end."""
    for packet in ("k", "D"):
        with RspClient(port) as gdb:
            gdb.ask("?")
            gdb.send(packet)
            eventually(lambda: cpu.status().state == "running")


def test_a_reboot_keeps_breakpoints_and_a_poweroff_ends_the_program(
    machine: Cli, port: int
) -> None:
    """The guest writes to the board's test device."""
    with RspClient(port) as gdb:
        assert gdb.ask(f"Z0,{address_of(machine, ' count'):x},2") == "OK"
        assert gdb.ask(f"M{CODE:x},10:{REBOOT}") == "OK"
        assert gdb.ask(f"c{CODE:x}") == "T05swbreak:;"
        assert number(gdb.ask(f"p{PC:x}")) == address_of(machine, " count")
        assert gdb.ask(f"M{CODE:x},10:{POWEROFF}") == "OK"
        assert gdb.ask(f"c{CODE:x}") == "W00"
