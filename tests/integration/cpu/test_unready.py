"""Guests that nothing ends but a person, and machines whose devices are not there."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import virtmesh_client
from tests.support.cli import eventually
from virtmesh.local.module_process import module_argv
from virtmesh_common.errors import DeviceNotReady, VirtmeshError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.cpu.conftest import BuildKernel
    from tests.support.cli import Cli

MACHINE = """
name = "late"
memory = "16M"
[kernel]
listen = ["unix:kernel.sock"]
[cpu]
kernel = "kernel.elf"
[[devices]]
name = "vda"
kind = "blk"
endpoint = "unix:vda.sock"
"""


def test_a_guest_that_spins_with_interrupts_off_is_stopped(cli: Cli, kernel: BuildKernel) -> None:
    """By `virtmesh cpu stop`, wherever it is; and it goes on."""
    spinning = kernel("csrw mie, zero\n.globl spin\nspin: j spin\n")
    assert cli("boot", "--detach", spinning).returncode == 0

    eventually(lambda: "spin" in cli("cpu", "stop").stdout and cli("cpu", "go").returncode == 0)
    stopped = json.loads(cli("cpu", "stop", "--json").stdout)

    assert (stopped["state"], stopped["symbol"]) == ("stopped", "spin")
    assert "stepped" in cli("cpu", "step", "5").stdout
    assert cli("cpu", "reset").returncode == 0


def start(stack: ExitStack, folder: Path, module: str, *arguments: str) -> None:
    """Start a service in a folder; it is stopped with the stack."""
    process = subprocess.Popen(
        module_argv(module, *arguments),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait, 20)
    stack.callback(process.terminate)


def test_a_guest_boots_when_a_device_that_was_missing_is_there(
    cli: Cli, kernel: BuildKernel
) -> None:
    """Until then the CPU says which device it waits for, and why."""
    kernel("j .\n")
    (cli.folder / "machine.toml").write_text(MACHINE)
    with ExitStack() as stack:
        start(stack, cli.folder, "virtmesh.cpu.main", "--machine", "machine.toml")
        machine = stack.enter_context(virtmesh_client.connect(f"unix:{cli.folder}/kernel.sock"))
        eventually(lambda: state(machine) == "waiting")
        why = ""
        try:
            machine.cpu().start()
        except DeviceNotReady as error:
            why = str(error)
        disk = ("blk", "--name=vda", "--listen=unix:vda.sock", "--image=d.img", "--size=1M")
        start(stack, cli.folder, "virtmesh.host.main", *disk)
        eventually(lambda: state(machine) == "running")

    assert "the CPU waits for vda: no service answers at" in why


def state(machine: virtmesh_client.Machine) -> Any:
    """Return what the CPU does; nothing while its service does not answer."""
    try:
        return machine.cpu().status().state
    except VirtmeshError:
        return ""
