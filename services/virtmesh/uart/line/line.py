"""The line: it moves characters from the far end to the chip, and tells what the chip sends.

The line owns the loop. The chip calls nobody: whoever has changed something (a register access, an
alarm, new input, modem lines, a reset) calls `settle`. That delivers what the chip takes now, tells
the listeners what the chip has put out, and shows the interrupt line.

Invariant, whenever `settle` has returned: no character that could be received now waits on the
line; the chip's outbox is empty; the interrupt line shows the sources that are pending and enabled.

Unpaced, a character arrives the moment there is room for it. Paced, each takes its time. What is
sent without flow control (Flow.NONE) arrives even where there is no room. Unpaced, it waits only
while the interrupt line is asserted, for a driver that is about to read. The line waits
PATIENCE_SECONDS for a driver that does nothing, and then no more until there is room again.

Everything runs on the event loop's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.uart.line.far_input import FarInput
from virtmesh.uart.line.patience import Patience
from virtmesh.uart.line.spoiled import SpoiledLine
from virtmesh.uart.port import FarLines, Flow, LineFormat, PortLines

if TYPE_CHECKING:
    from virtmesh_native import Interrupt

    from virtmesh.uart.chip.chip import Chip
    from virtmesh.uart.chip.clock import Timeline
    from virtmesh.uart.line.input_queue import QueuedInput
    from virtmesh.uart.port import PortListener


class SerialLine(FarInput):
    """The line of one chip. Implements virtmesh.uart.port.Line.

    `interrupt` is that of the device, which has the faults on demand.
    """

    def __init__(self, chip: Chip, timeline: Timeline, interrupt: Interrupt) -> None:
        super().__init__()
        self._chip = chip
        self._spoiled = SpoiledLine(chip, interrupt)
        self.timeline = timeline
        timeline.after_alarm = self.settle
        self._arrival = timeline.alarm(self._arrive)
        self._patience = Patience(timeline)
        self._listeners: list[PortListener] = []
        self.lines = FarLines()
        self.attached = False
        """True while a driver is attached."""
        self.unattended_bytes = 0
        """Characters that were put on the line while no driver was attached."""

    # -- The far end ----------------------------------------------------------------------------

    @property
    def format(self) -> LineFormat:
        """How the driver has set the port."""
        return self._chip.format

    @property
    def port_lines(self) -> PortLines:
        """The lines that the machine drives."""
        return self._chip.port_lines

    def set_lines(self, lines: FarLines) -> None:
        """Set the modem lines of the far end."""
        self.lines = lines
        self.timeline.run_due()
        self._chip.set_lines(lines)
        self.settle()

    def connect(self, listener: PortListener) -> None:
        """Tell a listener what the machine does from now on."""
        self._listeners.append(listener)

    # -- The driver -----------------------------------------------------------------------------

    def listen(self) -> None:
        """Let senders that wait for room go on: the driver is about to look at the receiver."""
        if not self._chip.listening:
            self._chip.listening = True
            self.settle()

    def read_run(self, count: int) -> bytes:
        """Read RBR at most `count` times in one piece.

        Each round takes what the FIFO holds, and fills it again. That has the effects of single
        reads while whoever is on the line waits for room: an input without flow control does so as
        long as the interrupt line is asserted, which a FIFO that is filled again does not change.
        """
        self.listen()
        run = b""
        while len(run) < count and self._all_wait:
            piece = self._chip.read_run(count - len(run))
            if not piece:
                break
            run += piece
            self.settle()
        return run

    def read_refilled(self, length: int, most: int) -> bytes:
        """Read RBR in one piece, `length` times or a multiple of it, at most `most` multiples.

        Only while the FIFO is full, and each character that is read is replaced at once by the next
        of one input. Nothing for a sender that does not wait for room, and with errors.
        """
        first = self._queue.first
        if first is None or self._queue.without_flow_control or not self._spoiled.harmless(first):
            return b""
        count = min(most, first.left // length) * length
        run = self._chip.exchange(first.data[first.gone : first.gone + count]) if count else b""
        if run:
            self._patience.renew()
            self._queue.drop(count, lost=0)
            self.settle()
        return run

    def reset(self) -> None:
        """Reset the chip. What waits on the line stays there."""
        self.timeline.run_due()
        self._chip.reset()
        self.settle()

    # -- The loop -------------------------------------------------------------------------------

    def settle(self) -> None:
        """Deliver what the chip takes now, tell what it has put out, show its interrupt line."""
        chip = self._chip
        chip.changed = False
        if self._queue.waiting:
            if chip.character_seconds == 0:
                self._deliver_unpaced()
            else:
                self._begin_character()
        if chip.outbox:
            self._tell()
        chip.show_interrupts()

    def _deliver_unpaced(self) -> None:
        """Deliver until the chip takes no more, or the line is empty."""
        while (first := self._queue.first) is not None:
            if room := self._chip.room:
                self._patience.renew()
                self._deliver(first, min(room, first.left))
            elif self._waits(first):
                return
            else:
                self._deliver(first, first.left)
        self._patience.end()

    def _waits(self, first: QueuedInput) -> bool:
        """Say whether input that finds no room waits, instead of overrunning the receiver."""
        if first.flow is Flow.WAIT:
            return True
        # Shown first, so that an interrupt that ends and begins anew is seen to do so.
        self._chip.show_interrupts()
        return self._chip.interrupting and self._patience.lasts()

    def _begin_character(self) -> None:
        """Begin the next character of a paced line, unless one is under way."""
        first, seconds = self._queue.first, self._chip.character_seconds
        if first is None or seconds is None or self._arrival.is_set:
            return
        if first.flow is Flow.NONE or self._chip.room:
            self._arrival.set(seconds)

    def _arrive(self) -> None:
        """Complete a character; one that its sender would not have sent by now waits on."""
        first = self._queue.first
        if first is not None and (first.flow is Flow.NONE or self._chip.room):
            self._deliver(first, 1)

    def _deliver(self, first: QueuedInput, count: int) -> None:
        """Hand characters of the first input to the chip."""
        characters = first.data[first.gone : first.gone + count]
        self._queue.drop(count, lost=self._spoiled.receive(characters, first.error))

    def _tell(self) -> None:
        """Tell the listeners what the chip has put out, in order."""
        told, self._chip.outbox = self._chip.outbox, []
        for one in told:
            for listener in self._listeners:
                match one:
                    case bytes():
                        listener.output(one)
                    case PortLines():
                        listener.port_lines_changed(one)
                    case LineFormat():
                        listener.format_changed(one)

    # -- Inside ---------------------------------------------------------------------------------

    @property
    def _all_wait(self) -> bool:
        """True while all that is on the line waits for room, and will as long as RBR is read."""
        return not self._queue.without_flow_control or self._chip.interrupting

    def _put(self, new: QueuedInput) -> None:
        """Put input on the line, which has room for it."""
        if not self.attached:
            self.unattended_bytes += new.left
        self._queue.append(new)
        self.settle()
