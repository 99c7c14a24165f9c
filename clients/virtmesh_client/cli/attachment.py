"""`virtmesh reset`, `virtmesh detach` and `virtmesh attach`: what the kernel drives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtmesh_client.cli.settings import Settings, common, device_argument
from virtmesh_client.cli.show import show_json
from virtmesh_common.errors import DeviceNotReady

if TYPE_CHECKING:
    from virtmesh_client.machine import Machine


@click.command()
@device_argument
@common
@click.pass_obj
def reset(settings: Settings, device: str) -> None:
    """Have the kernel give a device back and bring it up anew.

    Requests in flight fail. It ends when the device is in use again.
    """
    with settings.connect() as machine:
        show_state(settings, machine, device, machine.reset(device))


@click.command()
@device_argument
@common
@click.pass_obj
def detach(settings: Settings, device: str) -> None:
    """Have the kernel give a device back, and leave it alone.

    It stays so until `attach` or `reset`; another driver may have it meanwhile.
    """
    with settings.connect() as machine:
        machine.detach(device)
    if settings.json:
        show_json({"device": device, "state": "detached"})


@click.command()
@device_argument
@common
@click.pass_obj
def attach(settings: Settings, device: str) -> None:
    """Have the kernel bring a device up that was detached."""
    with settings.connect() as machine:
        show_state(settings, machine, device, machine.attach(device))


def show_state(settings: Settings, machine: Machine, device: str, state: str) -> None:
    """Say what became of a device, if anybody asks. Errors: DeviceNotReady."""
    if state != "ready":
        why = next((one.detail for one in machine.devices() if one.name == device), "")
        raise DeviceNotReady(f"{device} is {state}{f': {why}' if why else ''}", state=state)
    if settings.json:
        show_json({"device": device, "state": state})
