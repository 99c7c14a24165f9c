"""Which GPU a command is about."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from virtmesh_client.models import names_of
from virtmesh_common.errors import DeviceNotFound, NotOffered, WrongKind
from virtmesh_common.virtio.ids import VirtioId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.cli.settings import Settings
    from virtmesh_client.machine import Machine
    from virtmesh_client.screen.screen import Screen


def choose_gpu(machine: Machine, name: str | None) -> str:
    """Return the name of the GPU to use: `name`, or the only one.

    Errors: DeviceNotFound; UsageError if there are several.
    """
    if name is not None:
        return name
    names = list_gpus(machine)
    if not names:
        raise DeviceNotFound("the machine has no GPU")
    if len(names) > 1:
        raise click.UsageError(f"there are several GPUs: choose {' or '.join(names)}")
    return names[0]


@contextlib.contextmanager
def open_screen(settings: Settings, name: str) -> Iterator[Screen]:
    """Connect, and yield the screens of a GPU. Errors: as for `naming_gpus`."""
    with settings.connect() as machine, naming_gpus(machine, name):
        yield machine.screen(name)


@contextlib.contextmanager
def naming_gpus(machine: Machine, name: str) -> Iterator[None]:
    """Say which devices are GPUs if `name` is another one. Errors: WrongKind."""
    try:
        yield
    except NotOffered:
        names = list_gpus(machine)
        if name in names:
            raise
        there = f"the GPUs are: {', '.join(names)}" if names else "the machine has none"
        raise WrongKind(f"{name} is no GPU; {there}") from None


def list_gpus(machine: Machine) -> list[str]:
    """Return the names of the GPUs."""
    return names_of(machine.devices(), VirtioId.GPU)
