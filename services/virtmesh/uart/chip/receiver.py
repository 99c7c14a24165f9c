"""The receiver: buffer or FIFO, errors with their characters, timeout.

PC16550D data sheet, 8.4, 8.5, 8.11.

Invariant: `_marks` has a mark for each character that is held, and that of the top one is 0: its
error has moved to `_status`. `_marked` counts the others. A timeout is pending only while a FIFO
holds something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.uart.port import LineError
from virtmesh_common.uart.spec import FIFO_SIZE, TRIGGERS, Fcr, Lsr

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.uart.chip.clock import Timeline

TIMEOUT_CHARACTERS = 4
"""Character times without a character or a read after which a FIFO times out (8.11)."""
MARKS = {
    LineError.NONE: 0,
    LineError.PARITY: int(Lsr.PE),
    LineError.FRAMING: int(Lsr.FE),
    LineError.BREAK: int(Lsr.BI),
}
"""What LSR shows of a character with an error."""
# Numbers, since operators of flags cost more than all else that is done with a character.
DR, OE, FIFO_ERROR = int(Lsr.DR), int(Lsr.OE), int(Lsr.ERROR_IN_RCVR_FIFO)
MARK_BITS = int(Lsr.PE | Lsr.FE | Lsr.BI)
ERROR_BITS = OE | MARK_BITS


class Receiver:
    """Holds what was received until it is read.

    A character's error shows in LSR once the character is at the top, and stays there until LSR is
    read. `character_seconds` gives the time of a character: 0 when the line is not paced, None when
    it stands still.
    """

    def __init__(self, timeline: Timeline, character_seconds: Callable[[], float | None]) -> None:
        self._character_seconds = character_seconds
        self._alarm = timeline.alarm(self._time_out)
        self._characters = bytearray()
        self._marks = bytearray()
        """Errors of those characters; that of the top one is in `_status`."""
        self._marked = 0
        """How many of `_marks` are errors."""
        self._status = 0
        """Errors to show in LSR."""
        self.last = 0
        """What was read last."""
        self.fifo_enabled = False
        self.trigger = TRIGGERS[0]
        """Characters at which a FIFO's data is available."""
        self.timed_out = False
        """True while a timeout is pending."""
        self.received = 0
        self.overruns = 0
        self.discarded = 0
        self.errors = dict.fromkeys((LineError.PARITY, LineError.FRAMING, LineError.BREAK), 0)

    # -- What shows -----------------------------------------------------------------------------

    @property
    def level(self) -> int:
        """Characters held."""
        return len(self._characters)

    @property
    def capacity(self) -> int:
        """Characters that fit."""
        return FIFO_SIZE if self.fifo_enabled else 1

    @property
    def room(self) -> int:
        """Characters that it takes without an overrun."""
        return self.capacity - len(self._characters)

    @property
    def flawless(self) -> bool:
        """True while no character below the top has an error: reading them shows nothing."""
        return not self._marked

    @property
    def available(self) -> bool:
        """True while the received data interrupt is pending (8.11, A)."""
        return len(self._characters) >= (self.trigger if self.fifo_enabled else 1)

    @property
    def erroneous(self) -> bool:
        """True while the line status interrupt is pending."""
        return bool(self._status)

    @property
    def status(self) -> int:
        """Bits 0 to 4 and 7 of LSR."""
        status = self._status
        if self._characters:
            status |= DR
        if self.fifo_enabled and (self._marked or status & MARK_BITS):
            status |= FIFO_ERROR
        return status

    # -- The line -------------------------------------------------------------------------------

    def take(self, characters: bytes, error: LineError = LineError.NONE) -> int:
        """Receive characters with the same error, or none; return how many an overrun lost."""
        mark = 0
        if error is not LineError.NONE:
            mark = MARKS[error]
            self.errors[error] += len(characters)
        was_empty = not self._characters
        kept = characters[: self.room]
        lost = len(characters) - len(kept)
        self.received += len(kept)
        self._characters += kept
        self._marks += bytes((mark,)) * len(kept)
        if mark:
            self._marked += len(kept)
        if lost:
            self.overruns += lost
            self._status |= OE
            if not self.fifo_enabled:
                # The next character destroys the one in the buffer (8.4, bit 1).
                self.received += lost
                self._characters[:] = characters[-1:]
                self._marks[:] = bytes((mark,))
                self._marked = int(mark != 0)
                was_empty = True
        if was_empty:
            self._reveal()
        self.restart_timer()
        return lost

    def lose(self, count: int) -> None:
        """Lose characters as in an overrun."""
        self.overruns += count
        self._status |= OE

    # -- The driver -----------------------------------------------------------------------------

    def read(self) -> int:
        """Read the oldest character; what was read last when there is none.

        It clears a timeout, and restarts its timer (8.11, timeout C and D).
        """
        if self._characters:
            self.last = self._characters[0]
            del self._characters[0], self._marks[0]
            self._reveal()
            self.timed_out = False
        self.restart_timer()
        return self.last

    def read_flawless(self, count: int) -> bytes:
        """Read at most so many characters at once, none of which has an error."""
        taken = bytes(self._characters[:count])
        if taken:
            self.last = taken[-1]
            del self._characters[:count], self._marks[:count]
            self.timed_out = False
            self.restart_timer()
        return taken

    def exchange(self, characters: bytes) -> bytes:
        """Read as many characters as these, each of which arrives when one was read.

        It is full, and none that it holds has an error.
        """
        held = self._characters + characters
        taken = bytes(held[: len(characters)])
        self.received += len(characters)
        self.last = taken[-1]
        self._characters = held[len(characters) :]
        self.restart_timer()
        return taken

    def read_status(self) -> int:
        """Read the bits of LSR: its errors are shown once (8.4)."""
        status = self.status
        self._status = 0
        return status

    def control(self, fcr: int) -> bool:
        """Take FCR (8.5); True when the mode changed, which clears both FIFOs."""
        enabled = bool(fcr & Fcr.FIFO_ENABLE)
        changed = enabled != self.fifo_enabled
        self.fifo_enabled = enabled
        if enabled:
            self.trigger = TRIGGERS[fcr >> 6]
        if changed or (enabled and fcr & Fcr.RCVR_FIFO_RESET):
            self.clear()
        return changed

    def clear(self) -> None:
        """Throw away what is held, with its errors. An overrun remains to be told."""
        self.discarded += len(self._characters)
        self._characters.clear()
        self._marks.clear()
        self._marked = 0
        self._status &= OE
        self.timed_out = False
        self.restart_timer()

    def reset(self) -> None:
        """Return to the state of a master reset."""
        self.clear()
        self._status = 0
        self.fifo_enabled = False
        self.trigger = TRIGGERS[0]

    def restart_timer(self) -> None:
        """Wait for a timeout from now on, if there can be one (8.11, timeout D).

        A character time of 0 stands for a line that is as fast as its reader. There a FIFO times
        out once the line has nothing more for it, which is so on the next turn of the event loop.
        """
        seconds = self._character_seconds()
        if not self.fifo_enabled or not self._characters or seconds is None:
            self._alarm.cancel()
        elif self.timed_out:
            pass
        elif seconds:
            self._alarm.set(TIMEOUT_CHARACTERS * seconds)
        else:
            self._alarm.soon()

    def keep_timer(self) -> None:
        """Wait for a timeout, unless one is waited for: the trigger or the baud rate is new."""
        if not self._alarm.is_set:
            self.restart_timer()

    # -- Inside ---------------------------------------------------------------------------------

    def _reveal(self) -> None:
        """Show the error of the character at the top."""
        if self._marked and self._marks[0]:
            self._status |= self._marks[0]
            self._marks[0] = 0
            self._marked -= 1

    def _time_out(self) -> None:
        """Have a timeout pending. Unpaced, a FIFO at its trigger has none: its data is told."""
        self.timed_out = not self.available or bool(self._character_seconds())
