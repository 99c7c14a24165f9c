"""Commands that look at bytes: of a disk, or of the memory that a device sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtmesh.blk.block_device import BlockDevice
from virtmesh.blk.kernel_service import as_disk
from virtmesh.kernel.monitor.command import BadCommand, command
from virtmesh.kernel.monitor.text import HexDump
from virtmesh.kinds.option_types import Size

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from virtmesh.kernel.kernel import Kernel
    from virtmesh.kernel.monitor.shell import Shell

    Read = Callable[[int, int], Awaitable[bytes]]

DUMP_MAX = 1 << 20
"""Most bytes of one dump: some 5 MiB of text."""
PIECE = 4096
"""Bytes that are read and shown at once."""


@command(
    click.Argument(["action"], type=click.Choice(["read"]), expose_value=False),
    click.Argument(["block"], type=Size(), metavar="N"),
    click.Argument(["count"], type=click.IntRange(1), default=1, metavar="[COUNT]"),
    click.Option(["-d", "--device"], metavar="NAME", help="The disk; by default the first."),
)
async def blk(shell: Shell, block: int, count: int, device: str | None) -> None:
    """Show block N of a disk, or COUNT blocks from there."""
    disk = _disk(shell.kernel, device or _first_disk(shell.kernel))
    size = disk.block_size
    await _dump(shell, _disk_reader(disk), block * size, count * size)


@command(
    click.Argument(["source"], metavar="SOURCE:DEVICE"),
    click.Argument(["offset"], type=Size()),
    click.Argument(["length"], type=Size()),
)
async def hexdump(shell: Shell, source: str, offset: int, length: int) -> None:
    """Show LENGTH bytes from OFFSET on, of blk:DISK or ram:DEVICE.

    blk:vda is the disk vda. ram:vda is the guest memory that vda sees, where its queues and buffers
    are; its offsets are guest physical addresses. Sizes are written as 512, 0x200 or 4K.
    """
    kind, _, name = source.partition(":")
    if kind == "blk":
        read = _disk_reader(_disk(shell.kernel, name))
    elif kind == "ram":
        read = _memory_reader(shell.kernel, name)
    else:
        raise BadCommand(f"{source!r} is no source: write blk:vda or ram:vda")
    await _dump(shell, read, offset, length)


def _disk(kernel: Kernel, name: str) -> BlockDevice:
    """Return a disk that is in use. Errors: DeviceNotFound; DeviceNotReady; WrongKind."""
    return as_disk(name, kernel.driver(name))


def _first_disk(kernel: Kernel) -> str:
    """Return the name of the first disk."""
    for name, device in kernel.devices.items():
        if isinstance(device.driver, BlockDevice):
            return name
    raise BadCommand("no disk is ready. lsdev says why")


def _disk_reader(disk: BlockDevice) -> Read:
    """Return what reads a disk."""

    async def read(offset: int, length: int) -> bytes:
        return bytes(await disk.read(offset, length))

    return read


def _memory_reader(kernel: Kernel, name: str) -> Read:
    """Return what reads guest memory."""
    ram = kernel.device(name).ready_driver().bus.ram

    async def read(offset: int, length: int) -> bytes:
        try:
            with ram.view(offset, length) as view:
                return bytes(view)
        except ValueError as error:
            raise BadCommand(str(error)) from error

    return read


async def _dump(shell: Shell, read: Read, offset: int, length: int) -> None:
    """Show bytes, a piece at a time."""
    if not 0 < length <= DUMP_MAX:
        raise BadCommand(f"{length} bytes can't be shown: ask for 1 to {DUMP_MAX}")
    dump = HexDump(offset)
    for start in range(offset, offset + length, PIECE):
        data = await read(start, min(PIECE, offset + length - start))
        rows = list(dump.rows(data))
        if rows:
            await shell.write("\n".join(rows))
    await shell.write(dump.end())
