"""`virtmesh restart`: the process of a device, or the kernel service, ended and started anew."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtmesh_client.address import VARIABLE, find_address
from virtmesh_client.cli.local import run_dir_option
from virtmesh_client.cli.settings import Settings, common, device_argument
from virtmesh_client.cli.show import show_json
from virtmesh_client.local import rundir
from virtmesh_client.local.control import restart_process
from virtmesh_common.errors import BadMachine, DeviceNotReady, ServiceUnavailable
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from virtmesh_client.models import DeviceInfo

READY_SECONDS = 20.0
"""How long a process that was started anew may take to be of use."""
LOOK_SECONDS = 0.02
"""How often it is looked at meanwhile."""
USABLE = ("ready", "reserved")
UNSETTLED = ("waiting", "probing", "silent")


@click.command()
@device_argument
@run_dir_option
@common
@click.pass_obj
def restart(settings: Settings, device: str, run_dir: Path | None) -> None:
    """End a process of the machine and start it anew.

    DEVICE is a device, or `kernel`, as `virtmesh status` lists them. One that is held, since it
    died again and again, is brought back. The command ends when the device is in use again. What
    was in flight ends as after any death of the process.
    """
    state = find_local(settings, run_dir)
    if state is None:
        with settings.connect() as machine:
            found = machine.restart(device)
            why = next((one.detail for one in machine.devices() if one.name == device), "")
    else:
        restart_process(Path(state.run_dir), device)
        found, why = wait_until_usable(settings, state, device)
    if found not in USABLE:
        because = f": {why}" if why else ""
        raise DeviceNotReady(f"{device} was started anew, and is {found}{because}", state=found)
    if settings.json:
        show_json({"device": device, "state": found})
    elif not settings.quiet:
        say(f"{device} is restarted")


def find_local(settings: Settings, run_dir: Path | None) -> rundir.MachineState | None:
    """Return the machine of this host that is meant; None for one that only has an address.

    Errors: BadMachine; ServiceUnavailable; ValueError.
    """
    if run_dir is not None:
        state = rundir.load(run_dir.absolute())
        if state is None or not state.supervisor.alive:
            raise BadMachine(f"no machine runs in {run_dir}: `virtmesh status` lists them")
        return state
    address = settings.address or os.environ.get(VARIABLE) or find_address()
    states = rundir.running()
    return next((one for one in states if address in {one.address, *one.addresses}), None)


def wait_until_usable(settings: Settings, state: rundir.MachineState, name: str) -> tuple[str, str]:
    """Wait until the kernel uses a device, or can't; return the device's state, and why."""
    from virtmesh_client.machine import connect  # noqa: PLC0415 - gRPC takes time to import

    deadline = time.monotonic() + READY_SECONDS
    kernel = next((one.name for one in state.processes if one.kind in rundir.KERNELS), "")
    found, why = "silent", "the kernel service does not answer"
    while found in UNSETTLED and time.monotonic() < deadline:
        try:
            # A connection that failed once waits before it tries again; a new one does not.
            with connect(
                state.address, timeout=READY_SECONDS, request_id=settings.request_id
            ) as machine:
                devices = machine.devices()
        except ServiceUnavailable as error:
            found, why = "silent", error.message
        else:
            found, why = state_in(devices, name, kernel)
        if held := held_of(state, name):
            return "held", held
        if found in UNSETTLED:
            time.sleep(LOOK_SECONDS)
    return found, why


def held_of(state: rundir.MachineState, name: str) -> str:
    """Return why a process is held by now; empty if it is not."""
    now = rundir.load(Path(state.run_dir))
    return next((one.held for one in now.processes if one.name == name), "") if now else ""


def state_in(devices: list[DeviceInfo], name: str, kernel: str) -> tuple[str, str]:
    """Return the state of a process; that of the kernel is ready, since it answers."""
    if name == kernel:
        return "ready", ""
    device = next((one for one in devices if one.name == name), None)
    return (device.state, device.detail) if device else ("ready", "")
