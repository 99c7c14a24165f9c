"""Commands of a GPU's control and cursor queues, with any body."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.fuzz.draw import Draw
from tests.fuzz.target import Target
from virtmesh.attach.guest_ram import Ram
from virtmesh.gpu.commands import Commands
from virtmesh.gpu.refused import Refused
from virtmesh.gpu.resources import Resources
from virtmesh.gpu.scanout import Scanout
from virtmesh.gpu.settings import OFFERED, Mode
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import Command

MEMORY_MAX = 1 << 20
"""Most bytes of all resources."""
COMMANDS = tuple(Command)
LAYOUTS = {
    Command.VIRTIO_GPU_CMD_GET_EDID: spec.GET_EDID,
    Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_2D: spec.RESOURCE_CREATE_2D,
    Command.VIRTIO_GPU_CMD_RESOURCE_UNREF: spec.RESOURCE_ID,
    Command.VIRTIO_GPU_CMD_SET_SCANOUT: spec.SET_SCANOUT,
    Command.VIRTIO_GPU_CMD_RESOURCE_FLUSH: spec.RESOURCE_FLUSH,
    Command.VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D: spec.TRANSFER_TO_HOST_2D,
    Command.VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING: spec.RESOURCE_ATTACH_BACKING,
    Command.VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING: spec.RESOURCE_ID,
    Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB: spec.RESOURCE_CREATE_BLOB,
    Command.VIRTIO_GPU_CMD_SET_SCANOUT_BLOB: spec.SET_SCANOUT_BLOB,
}


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    """Share guest memory among all inputs."""
    with Ram(1 << 16) as ram:

        def run(data: bytes) -> None:
            draw = Draw(data)
            scanouts = [Scanout(number, Mode(64, 48)) for number in range(2)]
            commands = Commands(Resources(MEMORY_MAX), scanouts)
            commands.features = int(OFFERED)
            while not draw.is_empty:
                carry_out(commands, draw, ram)
                assert commands.resources.memory <= MEMORY_MAX
            commands.reset()
            assert commands.resources.memory == 0

        yield run


def carry_out(commands: Commands, draw: Draw, ram: Ram) -> None:
    """Carry one command out, with its copies."""
    command = draw.choose(COMMANDS)
    with suppress(Refused):
        answer = commands.carry_out(command, body_of(command, draw, ram), ram.guest_memory)
        for copy in answer.copies:
            with suppress(ValueError):  # A rectangle outside: the model refuses the command then.
                if copy.run(wait=False):
                    assert copy.size <= MEMORY_MAX
                    copy.done()


def body_of(command: Command, draw: Draw, ram: Ram) -> bytes:
    """Make a body: of small numbers mostly, with a backing behind it; at times any bytes."""
    layout = LAYOUTS.get(command)
    if layout is None or draw.chance(16):
        return draw.piece(128)
    body = bytearray()
    while len(body) < layout.size:
        number = draw.edge(4) if draw.chance(8) else draw.byte() % 80
        body += number.to_bytes(4, "little")
    del body[layout.size :]
    for _ in range(draw.byte() % 4):
        address = ram.address + draw.edge(2)
        body += spec.MEM_ENTRY.pack(address, draw.edge(4) if draw.chance(4) else draw.edge(2))
    return bytes(body)


def seeds() -> list[bytes]:
    """Return commands in the order in which a driver sends them."""
    order = (Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, Command.VIRTIO_GPU_CMD_SET_SCANOUT)
    return [bytes([COMMANDS.index(one)]) + bytes(range(64)) for one in order]


TARGET = Target(opened, seeds)
