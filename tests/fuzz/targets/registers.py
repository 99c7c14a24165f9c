"""Register accesses of any offset, width and value, at the models of all kinds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.fuzz.draw import Draw
from tests.fuzz.loop import Loop
from tests.fuzz.target import Target
from tests.support.device_kinds import KINDS
from virtmesh.attach.client import AttachmentEventfds
from virtmesh.attach.guest_ram import Ram
from virtmesh.mmio.device import Attachment, Device
from virtmesh_common.errors import RegisterError
from virtmesh_common.virtio.mmio import REGISTERS

RAM_BYTES = 1 << 20
OFFSETS = tuple(sorted({one.offset for one in REGISTERS}))
WIDTHS = (4, 4, 4, 4, 1, 2, 8, 3)
STEPS = 200


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    """Make a device of each kind; each input has a driver of its own."""
    with ExitStack() as undo, Loop() as loop:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-")))
        made = list[Device]()

        async def make() -> None:
            made.extend(kind.make(folder) for kind in KINDS.values())

        loop.run(make())

        async def drive(data: bytes) -> None:
            draw = Draw(data)
            device = draw.choose(made)
            eventfds = AttachmentEventfds.make(len(device.description.queue_size_max))
            with Ram(RAM_BYTES) as ram:
                ram.guest_memory.write(ram.address, draw.take(256))
                device.attach(Attachment("fuzz", ram.guest_memory, eventfds.queues))
                for _ in range(STEPS):
                    if draw.is_empty:
                        break
                    with suppress(RegisterError):
                        step(device, draw, ram)
                device.begin_reset()
                assert await device.reset_done()
                device.detach()
            eventfds.close()

        yield lambda data: loop.run(drive(data))


def step(device: Device, draw: Draw, ram: Ram) -> None:
    """Do one access, or ring. Errors: RegisterError."""
    what = draw.byte()
    offset = draw.choose(OFFSETS) if what & 1 else draw.number(2) % 0x300
    width = draw.choose(WIDTHS)
    if what & 6 == 0:
        value = device.read(offset, width)
        assert 0 <= value < 1 << 8 * width
    elif what & 0xF8 == 0xF8:
        device.notify(draw.byte())
    elif what & 8:
        device.write(offset, width, ram.address + draw.number(2))
    else:
        device.write(offset, width, draw.edge(width))


TARGET = Target(opened, longest=1024)
