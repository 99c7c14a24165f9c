"""A console at the far end of the line: on a person's terminal, or on the pipes of a script."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from virtmesh_client.serial.models import Disconnected, Gap, Output, Reconnected, Restarted
from virtmesh_client.serial.patterns import UnmatchedText, spell
from virtmesh_client.serial.pump import Pump
from virtmesh_client.serial.raw_terminal import ScreenTracker
from virtmesh_common.errors import DeviceLost
from virtmesh_common.uart.errors import ExpectTimeout

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator

    from virtmesh_client.serial.models import SerialEvent
    from virtmesh_client.serial.pump import FilePair
    from virtmesh_client.serial.terminal import SerialTerminal

BELL = b"\a"
STEP_SECONDS = 0.1
"""Precision with which silence is measured."""


@dataclass
class EndCondition:
    """When a console without an escape key ends. It never ends before the end of its input."""

    until: re.Pattern[str] | None = None
    """The console ends when the machine has sent a match."""
    quiet: float | None = None
    """The console ends when the machine has sent nothing for so many seconds. If `until` is given
    and has not matched by then, that is an error."""


@dataclass
class ConsoleOptions:
    """Options of a console."""

    escape: bytes | None = None
    """The key that ends the console, empty for no key. None if the input is not a terminal."""
    log: BinaryIO | None = None
    """File that gets all output of the machine, unchanged."""
    tell: Callable[[str], object] = lambda _line: None
    """Called with a line for the user, such as that the machine is gone."""
    ending: EndCondition = field(default_factory=EndCondition)


class ConsolePump(Pump):
    """Copies output of the machine to the files, and input from the files to the machine."""

    def __init__(
        self,
        terminal: SerialTerminal,
        files: FilePair,
        options: ConsoleOptions,
        screen: ScreenTracker | None = None,
    ) -> None:
        super().__init__(terminal, files)
        self._screen = screen or ScreenTracker()
        self._options = options
        self._text = UnmatchedText()
        self._matched = False
        self._input_ended = False
        self.uncertain = 0
        """Characters that may be lost, since the connection ended while they were under way."""
        self.missed = 0
        """Bytes that the machine sent and this console did not receive."""
        self._heard_at = time.monotonic()

    def events(self) -> Iterator[SerialEvent]:
        """Yield events until the escape key, the pattern or silence ends the console.

        Errors: ExpectTimeout; DeviceLost.
        """
        step = STEP_SECONDS if self._options.escape is None else None
        while not self.files.ended and not self._done:
            event = self.terminal.next_event(step)
            if event is not None:
                yield event

    def take(self, event: SerialEvent) -> None:
        """Show output of the machine, and tell the user when the connection changes."""
        name, tell = self.terminal.device, self._options.tell
        match event:
            case Output(data=data):
                self._show(data)
            case Disconnected(reason=reason, uncertain=uncertain):
                self.uncertain += uncertain
                lost = f"; {uncertain} characters of the input may be lost" if uncertain else ""
                tell(f"the connection to {name} is lost, waiting for it ({reason}{lost})")
            case Reconnected():
                tell(f"{name} is connected again")
            case Restarted():
                tell(f"the service of {name} was restarted: earlier output is gone")
            case Gap(missed_bytes=missed):
                self.missed += missed
                tell(f"{missed} bytes of output of {name} are missing here")

    def give(self, data: bytes) -> None:
        """Send what was typed. The escape key ends the console."""
        if self._options.escape is None:
            self.send(data)
            return
        key = self._options.escape
        typed, escape, _ = data.partition(key) if key else (data, b"", b"")
        if len(typed) > self.terminal.room:
            # Do not wait for room here: the escape key must always work.
            self.files.write(BELL)
        elif typed:
            self.send(typed)
        if escape:
            self.stop()

    def finish(self) -> None:
        """Note the end of the input. `_done` decides when the console ends."""
        self._heard_at = time.monotonic()
        self._input_ended = True

    def _show(self, data: bytes) -> None:
        """Write output to the terminal and the log, and search it for the pattern."""
        self._heard_at = time.monotonic()
        self._screen.see(data)
        if self._options.log is not None:
            self._options.log.write(data)
        self.files.write(data)
        if self._options.ending.until is not None and not self._matched:
            self._text.add(data)
            self._matched = self._text.find([self._options.ending.until]) is not None
            self._text.trim()

    @property
    def _done(self) -> bool:
        """True when the end condition is met.

        Errors: ExpectTimeout if the machine is silent and the pattern did not match; DeviceLost if
        the machine is silent because the connection is lost.
        """
        ending = self._options.ending
        if not self._input_ended or not self.settled(0.0):
            return False
        if ending.until is not None and self._matched:
            return True
        silent = time.monotonic() - self._heard_at
        if ending.quiet is None or silent < ending.quiet:
            return False
        if self.terminal.gone is not None:
            raise DeviceLost(
                f"the connection to {self.terminal.device} is lost: {self.terminal.gone}"
            )
        if ending.until is not None:
            raise ExpectTimeout(
                f"{self.terminal.device} sent nothing for {silent:.3g} s, and"
                f" {spell([ending.until])} did not match its output: {self._text.shown()}"
            )
        return True
