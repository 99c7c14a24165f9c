"""The console of a guest as the user of a serial port: bytes between the port and a runner.

Each direction has a window of its own (GuestService.AttachGuest): WINDOW bytes that were sent and
not reported as taken. So no queue here holds more than that, whatever stands still, and an action
never waits behind bytes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh.uart.driver.byte_queue import ByteQueue
from virtmesh_common.api.kernel.v1 import guest_pb2 as pb
from virtmesh_common.errors import BadStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.kernel.tty import Tty

WINDOW = 64 << 10
"""Most bytes of one direction that were sent and not taken."""
PIECE = 16 << 10
"""Most bytes of one message, and of one write to the port."""
CLEAR_LINE = "\r\x1b[K"
"""Go to the beginning of the line and erase it (ECMA-48, EL): a prompt may stand there."""


class GuestConsole:
    """The console of a guest. `send` sends a message to its runner, and never waits.

    `greeting` is shown on the port before the first output.
    """

    name = "guest"

    def __init__(self, send: Callable[[pb.AttachGuestResponse], object], greeting: str) -> None:
        self._send = send
        self._greeting = greeting
        self._output = ByteQueue(WINDOW)
        self._untaken_output = 0
        self._untaken_input = 0
        self._input_taken = asyncio.Event()
        self._finishing = False

    def put_output(self, data: bytes) -> None:
        """Take output of the guest. Errors: BadStream for none, or more than the window holds."""
        if not data or self._untaken_output + len(data) > WINDOW:
            raise BadStream(
                f"{len(data)} bytes of output behind {self._untaken_output} that are not taken:"
                f" send 1 to {WINDOW}, all in all"
            )
        self._untaken_output += len(data)
        self._output.put(data)

    def note_input_taken(self, count: int) -> None:
        """Note that the guest has taken input. Errors: BadStream for more than it was sent."""
        if count > self._untaken_input:
            raise BadStream(f"{count} bytes of input were taken, and {self._untaken_input} sent")
        self._untaken_input -= count
        self._input_taken.set()

    def finish(self) -> None:
        """Report to the runner when all output has left the port."""
        self._finishing = True
        self._output.wake()

    def note_break(self) -> None:
        """Pass a break on, which counts as one byte. Without room for it, it is lost."""
        if self._untaken_input < WINDOW:
            self._untaken_input += 1
            self._send(pb.AttachGuestResponse(line_break=pb.Break()))

    async def serve(self, tty: Tty) -> None:
        """Carry bytes both ways, until cancelled. Errors: VirtmeshError when the port is lost."""
        if self._greeting:
            await tty.write(f"{CLEAR_LINE}{self._greeting}\r\n".encode())
            self._greeting = ""
        steps = [
            asyncio.create_task(self._carry_output(tty), name="output of a guest"),
            asyncio.create_task(self._carry_input(tty), name="input of a guest"),
        ]
        try:
            done, _ = await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
            for step in done:
                step.result()
        finally:
            for step in steps:
                step.cancel()
            await asyncio.gather(*steps, return_exceptions=True)

    async def _carry_output(self, tty: Tty) -> None:
        """Write output to the port. A piece that the port is lost with counts as taken."""
        while True:
            while not self._output:
                if self._finishing:
                    await tty.drain()
                    self._finishing = False
                    self._send(pb.AttachGuestResponse(finished=pb.Finished()))
                await self._output.changed()
            data = self._output.get(PIECE)
            try:
                await tty.write(data)
            finally:
                self._untaken_output -= len(data)
                self._send(pb.AttachGuestResponse(output_taken=len(data)))

    async def _carry_input(self, tty: Tty) -> None:
        """Read input from the port, as far as the runner has room."""
        while True:
            while self._untaken_input == WINDOW:
                self._input_taken.clear()
                await self._input_taken.wait()
            data = await tty.read(min(PIECE, WINDOW - self._untaken_input))
            self._untaken_input += len(data)
            self._send(pb.AttachGuestResponse(input=data))
