"""`virtmesh devices` and `virtmesh completion`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from virtmesh_client.cli.settings import Settings, common
from virtmesh_client.cli.show import show_json, show_table
from virtmesh_common.printable import say

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="List every node of the device tree, and its fate.",
)
@common
@click.pass_obj
def devices(settings: Settings, every: bool) -> None:  # noqa: FBT001 - click passes it so
    """List the devices of the machine."""
    if every:
        list_nodes(settings)
        return
    with settings.connect() as machine:
        found = machine.devices()
        warnings = machine.warnings()
    for text in warnings:
        say(f"virtmesh: warning: {text}", err=True)
    if settings.json:
        show_json(found)
        return
    show_table(
        ("NAME", "STATE", "ADDRESS", "IRQ", "DRIVER", "DOORBELL", "REQUESTS", "INTERRUPTS", "WHY"),
        [
            (
                device.name,
                device.state,
                f"{device.mmio_address:#x}",
                device.irq,
                device.driver or "-",
                device.doorbell or "-",
                device.requests,
                device.interrupts,
                device.detail,
            )
            for device in found
        ],
    )


def list_nodes(settings: Settings) -> None:
    """List the nodes of the device tree."""
    with settings.connect() as machine:
        found = machine.nodes()
    if settings.json:
        show_json(found)
        return
    show_table(
        ("NODE", "COMPATIBLE", "ADDRESS", "FATE", "WHY"),
        [
            (
                node.path,
                node.compatible or "-",
                "-" if node.mmio_address is None else f"{node.mmio_address:#x}",
                f"{node.fate}: {node.device}" if node.device else node.fate,
                node.detail,
            )
            for node in found
        ],
    )


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@common
@click.pass_obj
def completion(settings: Settings, shell: str | None) -> None:
    """Print the completion script of a shell.

    \b
    bash: eval "$(virtmesh completion bash)" in ~/.bashrc
    zsh:  eval "$(virtmesh completion zsh)" in ~/.zshrc
    fish: virtmesh completion fish > ~/.config/fish/completions/virtmesh.fish
    """  # noqa: D301 - click wants the character
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - it takes time

    name = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name) if name in SHELLS else None
    if kind is None:
        raise click.UsageError(f"name the shell: {', '.join(SHELLS)}")
    root = click.get_current_context().find_root().command
    source = kind(root, {}, "virtmesh", "_VIRTMESH_COMPLETE").source()
    if settings.json:
        show_json({"shell": name, "script": source})
    else:
        say(source)
