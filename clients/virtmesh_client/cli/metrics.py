"""`virtmesh metrics`: what a machine measures, as Prometheus gets it."""

from __future__ import annotations

import sys

import click

from virtmesh_client.cli.settings import Settings, common, complete_device
from virtmesh_client.cli.show import show_json
from virtmesh_common.printable import printable


@click.command()
@click.option(
    "-d",
    "--device",
    shell_complete=complete_device,
    help="Only this device, asked itself  [default: the whole machine]",
)
@common
@click.pass_obj
def metrics(settings: Settings, device: str | None) -> None:
    """Print what a machine measures, as Prometheus reads it.

    It has the kernel service, or the CPU, and every device that answered. The metric
    virtmesh_machine_device_up says of each device whether it did. With --json it is a list of
    objects: name, labels, value; a value for which JSON has no number is a text, such as "NaN".
    """
    from virtmesh_client.metrics_page import samples_of  # noqa: PLC0415 - it imports gRPC

    with settings.connect() as machine:
        page = machine.metrics(device or "")
    if settings.json:
        show_json(list(samples_of(page)))
        return
    # A hostile device must not reach the terminal by what it measures.
    sys.stdout.writelines(f"{printable(line)}\n" for line in page.split("\n")[:-1])
