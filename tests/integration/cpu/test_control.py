"""`virtmesh cpu`: run, stop, step, look, and what happens when devices come and go."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import virtmesh_client
from tests.support.cli import eventually
from virtmesh.local.module_process import module_argv
from virtmesh_common.api.block.v1 import block_pb2 as pb
from virtmesh_common.api.block.v1.block_pb2_grpc import BlockAdminServiceStub
from virtmesh_common.channel import open_sync_channel
from virtmesh_common.cpu.errors import BadAddress, CpuRunning
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.integration.cpu.conftest import BuildKernel
    from tests.support.cli import Cli
    from virtmesh_client.cpu.control import Cpu
    from virtmesh_client.report import Violation

COUNTER = 0x8070_0000
"""Where `COUNT` counts; Status and InterruptStatus are behind it, 8 bytes each."""
COUNT = """
    .globl loop
    li t0, 0x80700000
    li t3, DISK
    li t4, 3
    sw t4, 0x70(t3)         # Status: ACKNOWLEDGE, DRIVER
    li t4, 1
    sw t4, 0x24(t3)         # DriverFeaturesSel
    sw t4, 0x20(t3)         # DriverFeatures: VIRTIO_F_VERSION_1
    li t4, 11
    sw t4, 0x70(t3)         # FEATURES_OK
    li t4, 15
    sw t4, 0x70(t3)         # DRIVER_OK
loop:
    lw t1, 0x70(t3)
    sd t1, 8(t0)
    lw t1, 0x60(t3)
    sd t1, 16(t0)
    ld t2, (t0)
    addi t2, t2, 1
    sd t2, (t0)
    j loop
"""
PERSONALITY = """
name = "{name}"
ids = {{ bus = "BUS_VIRTUAL", vendor = 1, product = 1, version = 1 }}
keys = ["{key}"]
"""


@pytest.fixture
def counting(cli: Cli, kernel: BuildKernel) -> Iterator[Cpu]:
    """Start a kernel that reads a register of a disk and counts, for ever."""
    path = kernel(COUNT)
    result = cli("boot", "--detach", path, "--disk", "vda.img,size=1M")
    assert result.returncode == 0, result.stderr
    with virtmesh_client.connect(cli.state.address) as machine:
        yield machine.cpu()


def counted(cpu: Cpu) -> int:
    """Return how far the kernel is."""
    return int.from_bytes(cpu.read_memory(COUNTER, 8), "little")


@pytest.mark.usefixtures("counting")
def test_the_asyncio_face_controls_it_too(cli: Cli) -> None:
    """Its stream tells each change, and ends with the loop that reads it."""

    async def changes() -> list[str]:
        async with await virtmesh_client.aconnect(cli.state.address) as machine:
            cpu, told = machine.cpu(), []
            async for status in cpu.watch():
                told.append(status.state)
                if len(told) == 2:
                    break
                await cpu.stop()
            assert "pc" in await cpu.registers()
            assert (await machine.report("vda")).driver
            return told

    assert asyncio.run(changes()) == ["running", "stopped"]


def test_a_cpu_is_stopped_stepped_and_goes_on(counting: Cpu) -> None:
    """Stopped, it counts no more; a step is one instruction."""
    status = counting.stop()
    assert (status.state, status.reason) == ("stopped", "asked")
    before = counted(counting)
    assert counted(counting) == before

    counting.set_registers(pc=counting.registers()["pc"])
    stepped = counting.step(6)
    assert stepped.reason == "stepped"
    assert counted(counting) - before in {0, 1}

    assert counting.start().state == "running"
    eventually(lambda: counted(counting) > before + 10)


def test_a_breakpoint_stops_before_its_instruction(cli: Cli, counting: Cpu) -> None:
    """The status names it by the symbol of the kernel's file."""
    counting.stop()
    loop = next(int(line.split()[0], 16) for line in symbols(cli) if line.endswith(" loop"))
    counting.set_breakpoints([loop])
    counting.start()
    eventually(lambda: counting.status().state == "stopped")

    status = counting.status()
    assert (status.reason, status.pc, status.symbol) == ("breakpoint", loop, "loop")
    before = counted(counting)
    counting.start()
    eventually(lambda: counting.status().state == "stopped")
    assert counted(counting) == before + 1


def symbols(cli: Cli) -> list[str]:
    """List the symbols of the kernel."""
    return subprocess.run(
        ["riscv64-linux-gnu-nm", str(cli.folder / "kernel.elf")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()


def test_a_watchpoint_stops_at_a_write(counting: Cpu) -> None:
    """With the address that was touched."""
    counting.set_breakpoints([], [(COUNTER, 8, "w")])
    eventually(lambda: counting.status().state == "stopped")

    status = counting.status()
    assert (status.reason, status.address) == ("watchpoint", COUNTER)


def test_memory_is_read_and_written(counting: Cpu) -> None:
    """While the CPU runs as well: it is stopped for it."""
    counting.write_memory(COUNTER + 0x1000, b"twelve bytes")

    assert counting.read_memory(COUNTER + 0x1000, 12, virtual=True) == b"twelve bytes"
    with pytest.raises(BadAddress):
        counting.read_memory(0x1000, 4)


def test_what_needs_a_stopped_cpu_says_so(counting: Cpu) -> None:
    """The message says how to get one."""
    with pytest.raises(CpuRunning, match="stop it"):
        counting.step()


def test_a_reset_boots_anew(counting: Cpu) -> None:
    """The devices are reset as well, and the guest runs again."""
    boots = counting.status().boots
    assert counting.reset().state == "running"

    assert counting.status().boots == boots + 1
    before = counted(counting)
    eventually(lambda: counted(counting) > before)


def test_a_killed_disk_is_a_delay_for_the_guest(cli: Cli, counting: Cpu) -> None:
    """Its registers are as before: Status has the bits that the guest has set."""
    before = counted(counting)
    os.kill(cli.process("vda").pid, signal.SIGKILL)
    eventually(lambda: counting.stats()["restorations"] == 1)
    eventually(lambda: counted(counting) > before + 10)

    assert counting.read_memory(COUNTER + 8, 4) == b"\x0f\0\0\0"
    assert counting.read_memory(COUNTER + 16, 4) == bytes(4)
    assert counting.status().state == "running"


def counts(violations: Sequence[Violation]) -> dict[str, int]:
    """Return how often each rule was broken."""
    return {one.rule: one.count for one in violations}


def test_what_is_replayed_is_not_held_against_the_guest(cli: Cli, counting: Cpu) -> None:
    """A replay has no reads, and that is no fault of the guest; what it did before is kept."""
    with virtmesh_client.connect(cli.state.address) as machine:
        eventually(lambda: counted(counting) > 0)
        before = machine.report("vda").violations
        os.kill(cli.process("vda").pid, signal.SIGKILL)
        eventually(lambda: counting.stats()["restorations"] == 1)
        after = machine.report("vda")

    assert before
    assert counts(after.violations) == counts(before)
    assert after.driver == "boot virtmesh-cpu"


def test_a_disk_that_comes_back_with_another_size_reads_as_absent(cli: Cli, counting: Cpu) -> None:
    """The guest goes on without it; `virtmesh devices` says why."""
    os.truncate(cli.folder / "vda.img", 2 << 20)
    os.kill(cli.process("vda").pid, signal.SIGKILL)
    before = counted(counting)
    eventually(lambda: device(cli)["state"] == "failed")

    eventually(lambda: counted(counting) > before + 10)
    assert counting.read_memory(COUNTER + 8, 4) == bytes(4)
    assert "capacity was 2048 and is 4096" in device(cli)["detail"]


def test_a_disk_that_was_resized_before_it_is_killed_comes_back(cli: Cli, counting: Cpu) -> None:
    """The guest was told of the new size, so it is what the disk is to have."""
    assert cli("blk", "resize", "vda", "2M").returncode == 0
    cpu_log = cli.run_dir / "cpu.log"
    eventually(lambda: "the configuration has changed" in cpu_log.read_text())
    os.kill(cli.process("vda").pid, signal.SIGKILL)

    eventually(lambda: counting.stats()["restorations"] == 1)
    assert device(cli)["state"] == "ready"


def test_another_disk_in_place_of_one_that_was_resized_reads_as_absent(
    cli: Cli, counting: Cpu
) -> None:
    """What the guest was told once does not make it take anything later."""
    before = counted(counting)
    assert cli("blk", "resize", "vda", "2M").returncode == 0
    cpu_log = cli.run_dir / "cpu.log"
    eventually(lambda: "the configuration has changed" in cpu_log.read_text())
    os.truncate(cli.folder / "vda.img", 3 << 20)
    os.kill(cli.process("vda").pid, signal.SIGKILL)

    eventually(lambda: device(cli)["state"] == "failed")
    assert "capacity was 4096 and is 6144" in device(cli)["detail"]
    eventually(lambda: counted(counting) > before + 10)


def test_a_disk_that_dies_at_its_resize_comes_back_and_tells(cli: Cli, counting: Cpu) -> None:
    """The CPU service had no time to look. The guest finds the configuration change pending."""
    cpu, disk = cli.process("cpu").pid, cli.process("vda")
    os.kill(cpu, signal.SIGSTOP)
    with open_sync_channel(disk.address) as channel:
        BlockAdminServiceStub(channel).Resize(pb.ResizeRequest(capacity_bytes=2 << 20))
    os.kill(disk.pid, signal.SIGKILL)
    os.kill(cpu, signal.SIGCONT)
    eventually(lambda: counting.stats()["restorations"] == 1)
    before = counted(counting)
    eventually(lambda: counted(counting) > before + 10)

    assert device(cli)["state"] == "ready"
    assert counting.read_memory(COUNTER + 8, 4) == b"\x0f\0\0\0"
    assert counting.read_memory(COUNTER + 16, 4) == b"\x02\0\0\0"


def test_an_input_device_that_comes_back_as_another_reads_as_absent(
    cli: Cli, kernel: BuildKernel
) -> None:
    """Its name and its keys are what the guest was told; `virtmesh devices` says what differs."""
    personality = cli.folder / "pad.toml"
    personality.write_text(PERSONALITY.format(name="one pad", key="KEY_A"))
    result = cli("boot", "--detach", kernel(COUNT), "--disk=vda.img,size=1M", "--input=pad.toml")
    assert result.returncode == 0, result.stderr
    personality.write_text(PERSONALITY.format(name="another pad", key="KEY_B"))
    os.kill(cli.process("pad").pid, signal.SIGKILL)
    eventually(lambda: device(cli, "pad")["state"] == "failed")

    detail = device(cli, "pad")["detail"]
    assert "name was one pad and is another pad" in detail
    assert "codes of type 1 was 00000040 and is 00000000000001" in detail


def device(cli: Cli, name: str = "vda") -> Any:
    """Return what the CPU service says of a device."""
    found = json.loads(cli("devices", "--json").stdout)
    return next(one for one in found if one["name"] == name)


def test_a_second_cpu_is_refused(cli: Cli, counting: Cpu) -> None:
    """The devices are the first one's; the message names it."""
    second = subprocess.Popen(
        module_argv(
            "virtmesh.cpu.main",
            *("--machine", str(cli.run_dir / "machine.toml"), "--run-dir", str(cli.run_dir)),
            *("--listen", f"unix:{cli.folder}/second.sock"),
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with virtmesh_client.connect(f"unix:{cli.folder}/second.sock") as machine:
            eventually(lambda: "attached to boot virtmesh-cpu" in details(machine))
    finally:
        second.terminate()
        second.wait(timeout=20)

    assert counting.status().state == "running"


def details(machine: virtmesh_client.Machine) -> str:
    """Return what a machine says of its devices; nothing while it does not answer."""
    try:
        return "; ".join(one.detail for one in machine.devices())
    except VirtmeshError:
        return ""


def test_the_command_shows_registers_and_memory(cli: Cli, counting: Cpu) -> None:
    """For people and as JSON."""
    counting.stop()
    registers = json.loads(cli("cpu", "regs", "--json").stdout)

    assert registers["x28"] == "0x10001000"
    assert "t3/x28 0000000010001000" in cli("cpu", "regs").stdout
    assert cli("cpu", "mem", "0x80000000", "16").stdout.startswith("80000000  ")
    assert json.loads(cli("cpu", "status", "--json").stdout)["state"] == "stopped"
    assert cli("cpu", "mem", "0x8000", "16").returncode == 1
