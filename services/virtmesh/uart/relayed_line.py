"""The line of a serial port in the kernel service: input on its way to the process of the port.

Input waits here until the process has put it on the line of the chip and the chip has taken it,
and is kept until the driver has read it. When the process has gone, the driver says how much it had
read; what was taken beyond that is given to the next process, before everything else. So each
character comes to the driver once, whichever process it comes by.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from virtmesh.uart.line import messages
from virtmesh.uart.line.far_input import FarInput
from virtmesh.uart.line.input_queue import QueuedInput
from virtmesh.uart.port import FarLines, Flow, LineError, LineFormat, PortLines
from virtmesh_common.api.uart.v1 import uart_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.uart.port import PortListener

WINDOW = 16 << 10
"""Most characters that a process has at a time, and has not taken."""
UNREAD_MAX = 16 << 10
"""Most characters that are kept since the driver may not have read them. A receiver has few, and a
process may say anything of itself."""
ERRORS = {
    LineError.NONE: pb.LINE_ERROR_UNSPECIFIED,
    LineError.PARITY: pb.LINE_ERROR_PARITY,
    LineError.FRAMING: pb.LINE_ERROR_FRAMING,
    LineError.BREAK: pb.LINE_ERROR_BREAK,
}
FLOWS = {Flow.WAIT: pb.FLOW_WAIT, Flow.NONE: pb.FLOW_NONE}


class RelayedLine(FarInput):
    """The line of one port, in all lives of its process. Implements virtmesh.uart.port.Line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = FarLines()
        self.format = LineFormat(0, 8, "N", 2)
        self.port_lines = PortLines()
        self.overrun = 0
        """Characters that were lost to an overrun in the present process."""
        self.lines_are_due = False
        """True when the process has other modem lines than these."""
        self.resumed = 0
        """Characters that were given to a process after another one had them."""
        self._ahead = 0
        """Characters at the begin of the queue that the process has."""
        self._taken = 0
        """Characters that left its line."""
        self._unread: deque[QueuedInput] = deque()
        """Those that were taken, and that the driver may not have read."""
        self._unread_characters = 0
        self._listeners: list[PortListener] = []
        self._send: Callable[[pb.OpenRequest], None] | None = None

    # -- The far end: virtmesh.uart.port.Line -----------------------------------------------------

    def set_lines(self, lines: FarLines) -> None:
        """Set the modem lines of the far end."""
        self.lines = lines
        if self._send is not None:
            self._send(pb.OpenRequest(lines=messages.spell_lines(lines)))

    def connect(self, listener: PortListener) -> None:
        """Tell a listener what the machine does from now on."""
        self._listeners.append(listener)

    def forget_listeners_but(self, listener: PortListener) -> None:
        """Tell one listener alone."""
        self._listeners = [listener]

    @property
    def arrived(self) -> int:
        """Characters that have reached the receiver of the present process."""
        return self._taken - self.overrun

    # -- The process ------------------------------------------------------------------------------

    def link(self, send: Callable[[pb.OpenRequest], None]) -> None:
        """Give input to a process, which has none of it."""
        self._send = send
        if self.lines_are_due:
            self.lines_are_due = False
            self.set_lines(self.lines)
        self._ahead = self._taken = self.overrun = 0
        self._pump()

    def unlink(self) -> None:
        """Keep input: the process has gone, or is of no use."""
        self._send = None

    def taken(self, characters: int, overrun: int, read: int) -> None:
        """Note how many have left the line of the process, and how many the driver has read."""
        self._leave(min(characters - self._taken, self._ahead), overrun - self.overrun)
        self._taken, self.overrun = characters, overrun
        self._forget_read(read)
        self._pump()

    def leave_given(self) -> None:
        """Leave what the process has to it: it lives, though its stream has ended."""
        self._leave(self._ahead, 0)
        self._unread.clear()
        self._unread_characters = 0

    def conclude(self, read: int) -> None:
        """Take back what a process had that has gone; the driver has read so many characters."""
        beyond = read - self.arrived
        if beyond > 0:  # It had taken more than it came to say.
            self._leave(min(beyond, self._ahead), 0)
            self._taken += beyond
        self._forget_read(read)
        again = self._unread_characters
        for one in reversed(self._unread):
            self._queue.put_back(one)
        self._unread.clear()
        self._unread_characters = 0
        self.resumed += again + self._ahead
        self._ahead = 0

    def changed_lines(self, lines: PortLines) -> None:
        """Take the lines that the machine drives."""
        self.port_lines = lines
        for listener in self._listeners:
            listener.port_lines_changed(lines)

    def changed_format(self, line_format: LineFormat) -> None:
        """Take the format that the driver has set."""
        self.format = line_format
        for listener in self._listeners:
            listener.format_changed(line_format)

    def output(self, characters: bytes) -> None:
        """Take what the machine has sent."""
        for listener in self._listeners:
            listener.output(characters)

    def _put(self, new: QueuedInput) -> None:
        """Put characters on the line, and give the process what it may have."""
        self._queue.append(new)
        self._pump()

    def _pump(self) -> None:
        """Give the process what it may have."""
        if self._send is None or self._ahead >= min(self._queue.waiting, WINDOW):
            return
        for one, start in self._queue.behind(self._ahead):
            data = one.data[start : start + WINDOW - self._ahead]
            if not data:
                return
            self._ahead += len(data)
            self._send(
                pb.OpenRequest(
                    input=pb.Input(
                        data=b"" if one.error is LineError.BREAK else data,
                        error=ERRORS[one.error],
                        flow=FLOWS[one.flow],
                    )
                )
            )

    def _leave(self, count: int, lost: int) -> None:
        """Let characters leave the line; they are kept until the driver has read them.

        The last of them are `lost`: what finds no room is, not what has arrived before.
        """
        arrived = max(0, count - lost)
        while count > 0 and (first := self._queue.first) is not None:
            step = min(count, first.left)
            kept = min(step, arrived)
            if kept:
                data = first.data[first.gone : first.gone + kept]
                self._unread.append(QueuedInput(data, first.error, first.flow, None))
            self._unread_characters += kept
            self._ahead -= step
            self._queue.drop(step, lost=step - kept)
            arrived -= kept
            count -= step

    def _forget_read(self, read: int) -> None:
        """Forget what the driver has read: all but the last that were taken."""
        keep = min(max(0, self.arrived - read), UNREAD_MAX)
        while self._unread and self._unread_characters > keep:
            first = self._unread[0]
            step = min(first.left, self._unread_characters - keep)
            first.gone += step
            self._unread_characters -= step
            if not first.left:
                self._unread.popleft()
