"""`virtmesh report` and `virtmesh trace` of a guest on the CPU: the very instruction is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import eventually, own_folder
from tests.support.riscv.report import read_report
from tests.support.riscv.small_kernels import COMPILER, NM, build, has_compiler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.cpu.conftest import BuildKernel
    from tests.support.cli import Cli

VIOLATIONS = 4
COUNT = int(os.environ.get("VIRTMESH_VIOLATIONS", "3000"))
"""Times that a guest breaks one rule. A million takes minutes: the gate has the short form."""

WRITE = """
    .macro reg name, offset, value      # write a register of the disk
    li t1, \\value
\\name:
    sw t1, \\offset(s0)
    .endm
"""
BROKEN_DRIVER = (
    WRITE
    + """
    li s0, DISK
    reg right_reset, 0x70, 0
    lw t1, 0x00(s0)                     # MagicValue, and no Version and no DeviceID
    reg breaks_probe_first, 0x70, 1
    reg right_driver, 0x70, 3
breaks_device_features_sel:
    lw t1, 0x10(s0)
    reg breaks_driver_features_sel, 0x20, 0
    reg right_sel, 0x24, 1
    reg right_features, 0x20, 1
    reg breaks_queue_before_features_ok, 0x38, 8
    reg right_features_ok, 0x70, 0xb
    reg breaks_features_ok_read, 0x70, 0xf
breaks_undescribed_register:
    lw t1, 0xf0(s0)
    reg breaks_legacy_register, 0x28, 4096
    reg breaks_read_only_register, 0x08, 7
breaks_write_only_register:
    lw t1, 0x50(s0)
breaks_control_width:
    lhu t1, 0x70(s0)
    reg breaks_queue_flag_value, 0x44, 2
    reg breaks_interrupt_ack_bits, 0x64, 0xf0
    reg breaks_status_clear, 0x70, 1
    reg breaks_notify_queue, 0x50, 99
    reg breaks_read_only_register_again, 0x08, 7
    li t0, UART
    li t1, 6
breaks_uart_fcr_enable:
    sb t1, 2(t0)
    li t1, 0xf0
breaks_uart_reserved_ier:
    sb t1, 1(t0)
breaks_uart_reserved_mcr:
    sb t1, 4(t0)
breaks_uart_lsr_write:
    sb t1, 5(t0)
    li t1, 'x'
breaks_uart_divisor:
    sb t1, (t0)
    j poweroff
"""
)
"""A driver that breaks each rule once, at the label of its name, but one: that twice."""
MILLION = """
    li s0, DISK
    li s1, {count}
again:
    lw t1, 0xf0(s0)
    addi s1, s1, -1
    bnez s1, again
    li t0, 0x50000008
hole:
    lw t1, (t0)
"""
BARE = """
    .option norelax
    .equ UART, 0x10000000
    .equ DISK, 0x10001000
    .equ TEST, 0x100000
    .globl _start
_start:
"""
"""The beginning of a kernel that programs no LCR."""
LENIENT = """
    la sp, stack
    li s0, DISK
    sw zero, 0x70(s0)
reads_vendor:
    lw t1, 0x0c(s0)
reads_wide:
    ld t1, 0x100(s0)
    lw t1, 0x0c(s0)
    li s0, UART
    li t1, 'x'
sends:
    sb t1, (s0)                         # LCR was never written
spin:
    j spin
"""
FLAG = 0x8070_0000
"""Where `TWICE` is told to go on."""
TWICE = (
    WRITE
    + """
    li s0, DISK
    li s1, 0x80700000
    sb zero, (s1)
    reg reset, 0x70, 0
    lw t1, 0x00(s0)
    lw t1, 0x04(s0)
    lw t1, 0x08(s0)
    reg acknowledge, 0x70, 1
    reg driver, 0x70, 3
    reg sel, 0x24, 1
    reg features, 0x20, 1
    sw zero, 0x14(s0)
    lw t1, 0x10(s0)
    reg features_ok, 0x70, 0xb
    lw t1, 0x70(s0)
    reg driver_ok, 0x70, 0xf
first_time:
    lw t1, 0xf0(s0)
wait:
    lb t1, (s1)
    beqz t1, wait
    lw t1, 0xf0(s0)
spin:
    j spin
"""
)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cli, dict[str, int]]]:
    """Run the broken driver to its end; returns its machine, and where its labels are."""
    if not has_compiler():
        pytest.skip(f"{COMPILER} is not installed")
    path = build(tmp_path_factory.mktemp("kernel"), BROKEN_DRIVER)
    with own_folder() as cli:
        boot(cli, path)
        wait_for(cli, "off")
        yield cli, read_symbols(path)


def boot(cli: Cli, path: Path, *arguments: str) -> None:
    """Boot a kernel, and leave its machine up."""
    result = cli("boot", "--detach", path, "--disk", "vda.img,size=1M", *arguments)
    assert result.returncode == 0, result.stderr


def wait_for(cli: Cli, state: str) -> None:
    """Wait until the CPU is in a state."""
    with virtmesh_client.connect(cli.state.address) as machine:
        assert any(one.state == state for one in machine.cpu().watch())


def read_symbols(path: Path) -> dict[str, int]:
    """Ask binutils where the labels of a kernel are."""
    listed = subprocess.run([NM, path], check=True, capture_output=True, text=True).stdout
    return {name: int(address, 16) for address, _, name in map(str.split, listed.splitlines())}


def test_each_rule_that_a_guest_breaks_is_named_with_its_instruction(
    broken: tuple[Cli, dict[str, int]],
) -> None:
    """PC and symbol are those of the first access that broke it; no other rule is named."""
    cli, addresses = broken
    labels = {
        name.removeprefix("breaks_").replace("_", "-"): name
        for name in addresses
        if name.startswith("breaks_") and not name.endswith("_again")
    }

    found, status = read_report(cli)

    assert status == VIOLATIONS
    rows = found["vda"] | found["serial"]
    assert {rule: row["symbol"] for rule, row in rows.items()} == labels
    assert {rule: row["pc"] for rule, row in rows.items()} == {
        rule: addresses[name] for rule, name in labels.items()
    }
    assert len(rows) >= 18
    assert all(rule.startswith("uart-") for rule in found["serial"])
    counts = {rule: row["count"] for rule, row in rows.items()}
    assert counts == dict.fromkeys(labels, 1) | {"read-only-register": 2}
    assert found["board"] == {}


def test_the_table_has_pc_and_symbol(broken: tuple[Cli, dict[str, int]]) -> None:
    """In the row of the rule."""
    cli, addresses = broken
    name = "breaks_status_clear"

    [row] = [one for one in cli("report", "vda").stdout.splitlines() if "status-clear" in one]

    assert f" {addresses[name]:#x} {name} " in row


def test_the_trace_shows_where_the_guest_makes_each_access(
    broken: tuple[Cli, dict[str, int]],
) -> None:
    """As a line before what the device records of it, with PC and symbol; in JSON as fields."""
    cli, addresses = broken
    name = "breaks_control_width"
    asked = ("trace", "-d", "vda", "--kinds", "register")

    shown = cli(*asked).stdout.splitlines()
    rows = [json.loads(line) for line in cli(*asked, "--json").stdout.splitlines()]

    [line] = [line for line in shown if name in line]
    assert f" cpu    {addresses[name]:#x} {name} reads Status+0 = 0x0" in line
    assert "drv <- Status" in shown[shown.index(line) + 1]
    accesses = [row for row in rows if row["kind"] == "cpu_access"]
    assert {row["side"] for row in accesses} == {"driver"}
    assert [row["pc"] for row in accesses if row["symbol"] == name] == [addresses[name]]
    # The CPU service itself has read what the device is, before the guest ran.
    begun = accesses[0]["time_ns"]
    done = [row for row in rows if row["side"] == "device" and row["time_ns"] >= begun]
    assert [row["token"] for row in done] == [row["token"] for row in accesses]


def test_a_saved_trace_keeps_program_counters_and_symbols(
    broken: tuple[Cli, dict[str, int]],
) -> None:
    """It is read without the machine."""
    cli, addresses = broken
    name = "breaks_control_width"
    assert cli("trace", "-d", "vda", "--save", "saved.jsonl").returncode == 0

    shown = cli("trace", "--from", "saved.jsonl").stdout

    assert f" cpu    {addresses[name]:#x} {name} reads " in shown


def test_a_rule_that_is_broken_without_end_is_one_row(cli: Cli, kernel: BuildKernel) -> None:
    """The count is right, the first time is kept; so it is for accesses where nothing is."""
    path = kernel(MILLION.format(count=COUNT))
    addresses = read_symbols(path)

    boot(cli, path)
    wait_for(cli, "off")
    found, status = read_report(cli)

    assert status == VIOLATIONS
    row = found["vda"]["undescribed-register"]
    assert (row["count"], row["pc"], row["symbol"]) == (COUNT, addresses["again"], "again")
    [hole] = found["board"].values()
    assert (hole["rule"], hole["count"], hole["pc"]) == ("hole", 1, addresses["hole"])
    assert (hole["symbol"], hole["clause"]) == ("hole", "3.6.1")
    assert "0x50000008" in hole["text"]
    assert read_report(cli, "board") == ({"board": found["board"]}, VIOLATIONS)


@pytest.mark.usefixtures("kernel")
def test_what_a_quirk_of_the_board_takes_care_of_is_a_violation(cli: Cli) -> None:
    """Named by its rule, with count and first PC, while the guest runs; the trace names it too."""
    path = build(cli.folder, LENIENT, prologue=BARE)
    addresses = read_symbols(path)

    boot(cli, path, "--quirk", "vda=lenient", "--serial-8n1")
    with virtmesh_client.connect(cli.state.address) as machine:
        eventually(lambda: machine.report("serial").violations)
    found, status = read_report(cli)

    assert status == VIOLATIONS
    rows = found["vda"]
    assert set(rows) == {"vendor-id", "config-width"}
    vendor, wide = rows["vendor-id"], rows["config-width"]
    assert (vendor["count"], vendor["pc"]) == (2, addresses["reads_vendor"])
    assert (wide["count"], wide["symbol"]) == (1, "reads_wide")
    assert "tolerate_wide_config_access" in wide["text"]
    assert wide["driver_side"] is True
    serial = found["serial"]
    assert {rule: row["symbol"] for rule, row in serial.items()} == dict.fromkeys(
        ("uart-format", "uart-divisor"), "sends"
    )
    events = cli("trace", "-d", "vda", "--kinds", "violation", "--json").stdout.splitlines()
    assert {json.loads(line)["sequence"] for line in events} == {
        vendor["sequence"],
        wide["sequence"],
    }


def test_the_report_outlives_the_process_of_its_device(cli: Cli, kernel: BuildKernel) -> None:
    """What it had counted, and the PC, stay; replaying registers is not held against the guest."""
    path = kernel(TWICE)
    addresses = read_symbols(path)
    boot(cli, path)
    with virtmesh_client.connect(cli.state.address) as machine:
        eventually(lambda: machine.report("vda").violations)
        [told] = machine.report("vda").violations
        os.kill(cli.process("vda").pid, signal.SIGKILL)
        eventually(lambda: machine.cpu().stats()["restorations"])
        [kept] = machine.report("vda").violations
        machine.cpu().write_memory(FLAG, b"\1")
        eventually(lambda: machine.report("vda").violations[0].count > 1)
        [again] = machine.report("vda").violations

    assert (told.rule, told.count, again.count) == ("undescribed-register", 1, 2)
    where = (addresses["first_time"], "first_time")
    assert [(one.pc, one.symbol) for one in (told, kept, again)] == [where] * 3
