"""`virtmesh up`: a whole machine as local processes."""

# ruff: noqa: FBT001, PLR0913, PLR0917 - click hands each option over as a parameter

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from virtmesh.local.early import EarlySupervisor
from virtmesh.local.installation import check_host
from virtmesh.local.order import Order, Quick
from virtmesh_client.cli.local import run_dir_option
from virtmesh_client.cli.seconds import Seconds
from virtmesh_client.cli.settings import Settings, common


@click.command()
@click.argument("machine", required=False, type=click.Path(path_type=Path))
@click.option(
    "--disk",
    "disks",
    multiple=True,
    metavar="IMAGE[,size=64M][,ro]",
    help="Add a disk, instead of a machine file; size makes a missing image.",
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="PERSONALITY",
    help="Add a keyboard, mouse, tablet or multitouch, instead of a machine file.",
)
@click.option(
    "--serial",
    is_flag=False,
    flag_value="",
    metavar="[OPTION=VALUE,...]",
    help="Options of the serial port, such as pace; without a machine file there is one always.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="KIND[,name=NAME][,OPTION=VALUE]",
    help="Add a device of any kind (`virtmesh-device --help`), instead of a machine file.",
)
@click.option("--no-serial", is_flag=True, help="Leave the serial port out.")
@click.option(
    "--vhost-user", is_flag=True, help="Leave disks, input and other virtio devices to guests."
)
@run_dir_option
@click.option("--name", help="Name of the machine, and of its run folder.")
@click.option("-d", "--detach", is_flag=True, help="Return when the machine is ready.")
@click.option(
    "--wait",
    type=Seconds(),
    default=30.0,
    show_default=True,
    help="Seconds until it must be ready.",
)
@common
@click.pass_obj
def up(
    settings: Settings,
    machine: Path | None,
    disks: tuple[str, ...],
    inputs: tuple[str, ...],
    serial: str | None,
    devices: tuple[str, ...],
    no_serial: bool,
    vhost_user: bool,
    run_dir: Path | None,
    name: str | None,
    detach: bool,
    wait: float,
) -> None:
    """Start a machine as local processes, and keep it running.

    MACHINE is a machine file (default: machine.toml). Without --detach the machine runs until
    Ctrl-C, and its logs are shown.
    """
    with EarlySupervisor() if detach else contextlib.nullcontext() as early:
        from virtmesh.local.cli import detach as detached  # noqa: PLC0415 - the other one imports

        detached.refuse_insecure(settings)
        if no_serial and serial is not None:
            raise click.UsageError("give --serial or --no-serial, not both")
        quick = Quick(disks, inputs, serial, devices, no_serial=no_serial, vhost_user=vhost_user)
        folder = None if run_dir is None else str(run_dir)
        order = Order(None if machine is None else str(machine), quick, name, folder, wait)
        if early is not None:
            check_host()
            detached.run_detached(settings, early, order)
        else:
            from virtmesh.local.cli.start import start  # noqa: PLC0415 - it takes long to import

            start(settings, order)
