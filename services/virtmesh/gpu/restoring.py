"""A GPU as the last process of the device had it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.gpu.commands import Copy
from virtmesh.gpu.damage import Rect
from virtmesh.gpu.journal import COMMAND
from virtmesh.gpu.refused import Refused
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh_native import GuestMemory

    from virtmesh.gpu.commands import Commands
    from virtmesh.gpu.cursors import CursorCommands
    from virtmesh.gpu.journal import Journal
    from virtmesh.gpu.resources import Resource


def again(
    records: Sequence[bytes],
    commands: Commands,
    cursors: CursorCommands,
    journal: Journal,
    memory: GuestMemory,
) -> list[Copy]:
    """Carry out commands again. Return the copies that then bring pixels, pictures and cursors.

    What is refused now (memory that is another one) is left out.
    """
    shown: list[Copy] = []
    for record in records:
        (command,) = COMMAND.unpack_from(record)
        try:
            shown += commands.carry_out(command, record[COMMAND.size :], memory).copies
        except Refused:
            continue
    transfers = [transfer(one, commands) for one in commands.resources if one.surface is not None]
    show_cursors = Copy(0, _nothing, lambda: cursors_again(cursors, journal, memory))
    return [*transfers, *shown, show_cursors]


def transfer(resource: Resource, commands: Commands) -> Copy:
    """Return the copy of all of a resource from its backing, if that has all of it."""
    surface, backing, cancel = resource.surface, resource.backing, commands.cancel
    whole = Rect(0, 0, resource.width, resource.height)

    def run(*, wait: bool) -> bool:
        del wait  # Nobody reads a resource.
        if surface is None or backing is None:
            return True
        try:
            return surface.transfer(backing, whole.place, 0, cancel)
        except ValueError:
            return True

    return Copy(whole.pixels * spec.PIXEL, run, lambda: None)


def cursors_again(cursors: CursorCommands, journal: Journal, memory: GuestMemory) -> None:
    """Show the cursors again."""
    for number in range(cursors.count):
        body = journal.cursor(number)
        if any(body):
            try:
                cursors.carry_out(Command.VIRTIO_GPU_CMD_UPDATE_CURSOR, body, memory)
            except Refused:
                continue


def _nothing(*, wait: bool) -> bool:
    """Copy nothing."""
    del wait
    return True
