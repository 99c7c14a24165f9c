"""A console: a person's window, or a script's pipes, at the far end of the line."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from virtmesh_client.serial.models import Back, Gap, Gone, Output, Restarted
from virtmesh_client.serial.patterns import Unmatched, spell
from virtmesh_client.serial.pump import Pump
from virtmesh_client.serial.raw_terminal import Screen
from virtmesh_common.errors import DeviceLost
from virtmesh_common.uart.errors import ExpectTimeout

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator

    from virtmesh_client.serial.models import Event
    from virtmesh_client.serial.pump import Files
    from virtmesh_client.serial.terminal import Terminal

BELL = b"\a"
STEP_SECONDS = 0.1
"""How exactly silence is measured."""


@dataclass
class Ending:
    """When a console that nobody leaves by a key ends: after its input, and then ..."""

    until: re.Pattern[str] | None = None
    """... when the machine has sent this, ..."""
    quiet: float | None = None
    """... or when it has sent nothing for so many seconds (without `until`; with it: an error)."""


@dataclass
class Options:
    """How a console behaves."""

    escape: bytes | None = None
    """The key that leaves, empty for none; None where input is no window."""
    log: BinaryIO | None = None
    """Gets what the machine sends, as it is."""
    tell: Callable[[str], object] = lambda _line: None
    """Called with news, such as that the machine is gone."""
    ending: Ending = field(default_factory=Ending)


class Console(Pump):
    """What the machine sends goes to the files, what they bring goes to the machine."""

    def __init__(
        self, terminal: Terminal, files: Files, options: Options, screen: Screen | None = None
    ) -> None:
        super().__init__(terminal, files)
        self._screen = screen or Screen()
        self._options = options
        self._text = Unmatched()
        self._matched = False
        self._input_ended = False
        self.uncertain = 0
        """Characters that may be lost, as the service went away while they were under way."""
        self.missed = 0
        """Bytes that the machine sent and this console did not get."""
        self._heard_at = time.monotonic()

    def events(self) -> Iterator[Event]:
        """Yield what happens until a key, the pattern or silence ends it. Errors: ExpectTimeout."""
        step = STEP_SECONDS if self._options.escape is None else None
        while not self.files.ended and not self._done:
            event = self.terminal.next_event(step)
            if event is not None:
                yield event

    def take(self, event: Event) -> None:
        """Show what the machine sends, and say what becomes of it."""
        name, tell = self.terminal.device, self._options.tell
        match event:
            case Output(data=data):
                self._show(data)
            case Gone(reason=reason, uncertain=uncertain):
                self.uncertain += uncertain
                lost = f"; {uncertain} characters may be lost" if uncertain else ""
                tell(f"{name} is gone, waiting for it ({reason}{lost})")
            case Back():
                tell(f"{name} is back")
            case Restarted():
                tell(f"{name} has begun a new life")
            case Gap(missed_bytes=missed):
                self.missed += missed
                tell(f"{missed} bytes of {name} were missed here")

    def give(self, data: bytes) -> None:
        """Send what was typed, up to the key that leaves."""
        if self._options.escape is None:
            self.send(data)
            return
        key = self._options.escape
        typed, escape, _ = data.partition(key) if key else (data, b"", b"")
        if len(typed) > self.terminal.room:
            # A person must always be able to leave, so nothing waits here.
            self.files.write(BELL)
        elif typed:
            self.send(typed)
        if escape:
            self.stop()

    def finish(self) -> None:
        """Go on after the end of the input, as the options say."""
        self._heard_at = time.monotonic()
        self._input_ended = True

    def _show(self, data: bytes) -> None:
        """Show output."""
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
        """True when the ending has come. Errors: ExpectTimeout, DeviceLost when it does not."""
        ending = self._options.ending
        if not self._input_ended or not self.settled(0.0):
            return False
        if ending.until is not None and self._matched:
            return True
        silent = time.monotonic() - self._heard_at
        if ending.quiet is None or silent < ending.quiet:
            return False
        if self.terminal.gone is not None:
            raise DeviceLost(f"{self.terminal.device} is gone: {self.terminal.gone}")
        if ending.until is not None:
            raise ExpectTimeout(
                f"{self.terminal.device} was silent for {silent:.3g} s and did not send"
                f" {spell([ending.until])}: {self._text.shown()}"
            )
        return True
