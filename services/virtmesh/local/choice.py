"""Which machine an order means: its file, its name and its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtmesh import machine as machine_file
from virtmesh.local import run_folder
from virtmesh.local.quick_machine import quick_machine
from virtmesh_client.local import rundir
from virtmesh_common.errors import BadMachine

if TYPE_CHECKING:
    from virtmesh.local.order import Order, Quick

DEFAULT_FILE = Path("machine.toml")


def choose(order: Order) -> tuple[Path, str, Path]:
    """Return the machine file, the name and the run folder. Errors: BadMachine, UsageError."""
    quick, name = order.quick, order.name
    run_dir = None if order.run_dir is None else Path(order.run_dir)
    file = None if order.machine is None else Path(order.machine)
    if file and (quick.is_given or quick.no_serial):
        raise click.UsageError(
            "give a machine file, or --disk, --input, --serial and --device, not both"
        )
    if quick.vhost_user and not (quick.disks or quick.inputs or quick.devices):
        raise click.UsageError(
            "--vhost-user goes with --disk, --input and --device: in a machine file write"
            " vhost-user = true"
        )
    if quick.is_given:
        name = name or "virtmesh"
        run_dir = (run_dir or rundir.default(name)).absolute()
        return write_machine(run_dir, spell(quick, name)), name, run_dir
    if file is None and not DEFAULT_FILE.exists():
        raise click.UsageError(
            "there is no machine.toml here: name a machine file, or give --disk IMAGE,size=64M,"
            " --input, --serial or --device"
        )
    file = (file or DEFAULT_FILE).absolute()
    name = name or machine_file.load(file).name
    run_dir = (run_dir or rundir.default(name)).absolute()
    run_folder.prepare(run_dir)
    # What runs there has the ports of the machine: it is told before they are looked at.
    run_folder.take(run_dir).release()
    return file, name, run_dir


def spell(quick: Quick, name: str) -> str:
    """Return the machine file of devices on the command line. Errors: BadMachine."""
    serial = None if quick.no_serial else quick.serial or ""
    return quick_machine(
        name,
        quick.disks,
        quick.inputs,
        serial,
        devices=quick.devices,
        vhost_user=quick.vhost_user,
    )


def write_machine(run_dir: Path, text: str) -> Path:
    """Write the machine file of devices that were given as options. Errors: BadMachine."""
    run_folder.prepare(run_dir)
    # A machine that runs reads its file again when its kernel is restarted.
    run_folder.take(run_dir).release()
    made = run_dir / DEFAULT_FILE.name
    try:
        made.write_text(text, encoding="utf-8")  # as TOML is
    except UnicodeEncodeError:
        raise BadMachine(
            "the name of a file is not UTF-8, which a machine file must be: rename it, and the"
            " folders that it is in"
        ) from None
    machine_file.load(made)
    return made
