"""`virtmesh report` and `virtmesh trace` of a guest on the CPU: the very instruction is named."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import virtmesh_client
from tests.support.cli import eventually
from tests.support.riscv.small_kernels import NM

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.cpu.conftest import BuildKernel
    from tests.support.cli import Cli

VIOLATIONS = 4

BROKEN_DRIVER = """
    .macro reg name, offset, value      # write a register of the disk
    li t1, \\value
\\name:
    sw t1, \\offset(s0)
    .endm
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
LENIENT = """
    li s0, DISK
    sw zero, 0x70(s0)
reads_vendor:
    lw t1, 0x0c(s0)
reads_wide:
    ld t1, 0x100(s0)
    lw t1, 0x0c(s0)
spin:
    j spin
"""


@pytest.fixture
def report(cli: Cli) -> Any:
    """Give the test a function that reads the violations of each device by rule, and the status."""

    def read(*names: str) -> tuple[dict[str, dict[str, Any]], int]:
        result = cli("report", "--json", *names)
        assert result.stderr == ""
        told = {
            one["device"]: {row["rule"]: row for row in one["violations"]}
            for one in json.loads(result.stdout)
        }
        return told, result.returncode

    return read


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
    cli: Cli, kernel: BuildKernel, report: Any
) -> None:
    """PC and symbol are those of the first access that broke it; no other rule is named."""
    path = kernel(BROKEN_DRIVER)
    addresses = read_symbols(path)
    labels = {
        name.removeprefix("breaks_").replace("_", "-"): name
        for name in addresses
        if name.startswith("breaks_") and not name.endswith("_again")
    }

    boot(cli, path)
    wait_for(cli, "off")
    found, status = report()

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
    table = cli("report", "vda").stdout
    where = f"{addresses['breaks_status_clear']:#x} breaks_status_clear"
    assert next(line for line in table.splitlines() if "status-clear" in line).count(where) == 1


def test_the_trace_shows_where_the_guest_makes_each_access(cli: Cli, kernel: BuildKernel) -> None:
    """As a line before what the device records of it, with PC and symbol; in JSON as fields."""
    path = kernel(BROKEN_DRIVER)
    boot(cli, path)
    wait_for(cli, "off")

    shown = cli("trace", "-d", "vda", "--kinds", "register").stdout.splitlines()
    rows = [
        json.loads(line)
        for line in cli("trace", "-d", "vda", "--kinds", "register", "--json").stdout.splitlines()
    ]

    address = read_symbols(path)["breaks_control_width"]
    [line] = [line for line in shown if "breaks_control_width" in line]
    assert f"cpu    {address:#x} breaks_control_width reads Status+0 = 0x0" in line
    assert "drv <- Status" in shown[shown.index(line) + 1]
    accesses = [row for row in rows if row["kind"] == "cpu_access"]
    assert all(row["side"] == "driver" for row in accesses)
    wanted = {"breaks_control_width": address}
    assert {
        row["symbol"]: row["pc"] for row in accesses if row["symbol"] in wanted
    } == wanted
    # The CPU service itself has read what the device is, before the guest ran.
    begun = accesses[0]["time_ns"]
    done = [row for row in rows if row["side"] == "device" and row["time_ns"] >= begun]
    assert [row["token"] for row in done] == [row["token"] for row in accesses]


def test_a_rule_that_is_broken_a_million_times_is_one_row(
    cli: Cli, kernel: BuildKernel, report: Any, pytestconfig: pytest.Config
) -> None:
    """The count is right, the first time is kept; so it is for accesses where nothing is."""
    count = 20_000
    path = kernel(MILLION.format(count=count))
    addresses = read_symbols(path)

    boot(cli, path)
    wait_for(cli, "off")
    found, status = report()

    assert status == VIOLATIONS
    row = found["vda"]["undescribed-register"]
    assert (row["count"], row["pc"], row["symbol"]) == (count, addresses["again"], "again")
    [hole] = found["board"].values()
    assert (hole["rule"], hole["count"], hole["pc"]) == ("hole", 1, addresses["hole"])
    assert (hole["symbol"], hole["clause"]) == ("hole", "3.6.1")
    assert "0x50000008" in hole["text"]
    assert report("board") == ({"board": found["board"]}, VIOLATIONS)


def test_what_a_quirk_of_the_board_takes_care_of_is_a_violation(
    cli: Cli, kernel: BuildKernel, report: Any
) -> None:
    """Named by its rule, with count and first PC, while the guest runs; the trace names it too."""
    path = kernel(LENIENT)
    addresses = read_symbols(path)

    boot(cli, path, "--quirk", "vda=lenient", "--serial-8n1")
    eventually(lambda: report("vda")[0]["vda"].get("vendor-id", {}).get("count") == 2)
    found, status = report("vda")

    assert status == VIOLATIONS
    rows = found["vda"]
    assert set(rows) == {"vendor-id", "config-width"}
    vendor, wide = rows["vendor-id"], rows["config-width"]
    assert (vendor["count"], vendor["pc"]) == (2, addresses["reads_vendor"])
    assert (wide["count"], wide["symbol"]) == (1, "reads_wide")
    assert "tolerate_wide_config_access" in wide["text"]
    assert wide["driver_side"] is True
    events = cli("trace", "-d", "vda", "--kinds", "violation", "--json").stdout.splitlines()
    assert {json.loads(line)["sequence"] for line in events} == {
        vendor["sequence"],
        wide["sequence"],
    }
