"""Debuggers attach by GDB's remote serial protocol, and leave the machine running."""

from __future__ import annotations

import socket
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import eventually
from tests.support.rsp import RspClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.cpu.conftest import BuildKernel
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


def free_port() -> int:
    """Return a port that is free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def port(cli: Cli, kernel: BuildKernel) -> int:
    """Start a kernel that counts, with a port for debuggers."""
    number = free_port()
    result = cli("boot", "--detach", kernel(COUNT), "--gdb", number)
    assert result.returncode == 0, result.stderr
    return number


@pytest.fixture
def cpu(cli: Cli, port: int) -> Iterator[Cpu]:  # noqa: ARG001 - the machine must run
    """Connect to the CPU, beside the debugger."""
    with virtmesh_client.connect(cli.state.address) as machine:
        yield machine.cpu()


def address_of(cli: Cli, name: str) -> int:
    """Return the address of a symbol of the kernel."""
    listed = subprocess.run(
        ["riscv64-linux-gnu-nm", str(cli.folder / "kernel.elf")],
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


def test_a_breakpoint_a_step_and_ctrl_c(cli: Cli, port: int) -> None:
    """Each stop has its reason."""
    count = address_of(cli, " count")
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


def test_a_debugger_that_vanishes_leaves_the_machine_running(cli: Cli, port: int, cpu: Cpu) -> None:
    """Its breakpoints go with it."""
    with RspClient(port) as gdb:
        gdb.ask(f"Z0,{address_of(cli, ' count'):x},2")
        assert cpu.status().state == "stopped"
    before = number(cpu.read_memory(COUNTER, 8).hex())

    eventually(lambda: number(cpu.read_memory(COUNTER, 8).hex()) > before)
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


def test_a_second_debugger_is_hung_up_on(port: int) -> None:
    """One at a time: two would not know of one another's breakpoints."""
    with RspClient(port) as first:
        assert first.ask("?") == "T02"
        with RspClient(port) as second, pytest.raises(ConnectionError):
            second.ask("?")
        assert first.ask("?") == "T02"
