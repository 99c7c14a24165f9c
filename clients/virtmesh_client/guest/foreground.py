"""A guest on a serial port of the machine, with the user's terminal at the far end of the line.

The keeper runs on a thread of its own. The terminal is one of those that are plugged in, like any
other, so what it shows is what the serial port sends.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

from virtmesh_client.guest.console import GuestConsole, LineEnds, StopKeyDetector
from virtmesh_client.guest.keeper import Keeper
from virtmesh_client.local.exit_status import spell_exit
from virtmesh_client.serial.device import Serial
from virtmesh_client.serial.models import Output
from virtmesh_client.serial.pump import FilePair, Pump
from virtmesh_client.serial.raw_terminal import raw_output, raw_terminal, terminal_restored
from virtmesh_common.errors import GuestError, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtmesh_client.channel import KernelChannel
    from virtmesh_client.guest.keeper import Ending
    from virtmesh_client.guest.plan import GuestPlan
    from virtmesh_client.serial.models import SerialEvent
    from virtmesh_client.serial.raw_terminal import ScreenTracker
    from virtmesh_client.serial.terminal import SerialTerminal

STEP_SECONDS = 0.05
"""How often it is looked at whether the guest has booted, or ended."""
QUIET_SECONDS = 1.0
"""How long the last output of a guest is waited for, when its end is not known."""
BELL = b"\a"


class LateInput(FilePair):
    """Files whose input is not read before `begin`: until then it is the user's terminal's."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__(source, target)
        self._begun = threading.Event()

    def begin(self) -> None:
        """Read from now on."""
        self._begun.set()

    def end(self) -> None:
        """End all waits."""
        super().end()
        self._begun.set()

    def read(self) -> bytes:
        """Wait for `begin`, and then for input."""
        self._begun.wait()
        return super().read()


class GuestPump(Pump):
    """Shows what the port sends until the guest has ended; sends keys once it has booted."""

    def __init__(
        self,
        terminal: SerialTerminal,
        files: LateInput,
        screen: ScreenTracker,
        keeper: Keeper,
        take_keys: Callable[[], object],
    ) -> None:
        super().__init__(terminal, files)
        self.end_offset: int | None = None
        """Where the output of the guest ends, once that is known."""
        self.kept = threading.Event()
        """Set when the keeper has ended."""
        self._input = files
        self._screen = screen
        self._keeper = keeper
        self._take_keys = take_keys
        self._look = StopKeyDetector()
        self._mend = LineEnds()

    def events(self) -> Iterator[SerialEvent]:
        """Yield the events of the line, to the end of the guest's output."""
        with_keys = False
        while not self.files.ended:
            if not with_keys and self._keeper.booted.is_set() and not self.kept.is_set():
                with_keys = True
                self._take_keys()
                self._input.begin()
            event = self.terminal.next_event(STEP_SECONDS)
            if event is not None:
                yield event
            elif self.kept.is_set():
                if self._at_end():
                    return
                event = self.terminal.next_event(QUIET_SECONDS)
                if event is None:
                    return
                yield event

    def take(self, event: SerialEvent) -> None:
        """Show output, but nothing that comes behind that of the guest."""
        if not isinstance(event, Output):
            return
        data, end = event.data, self.end_offset
        if end is not None:
            data = data[: max(0, end - event.offset)]
        self._screen.see(data)
        self.files.write(self._mend(data))

    def give(self, data: bytes) -> None:
        """Send keys. Errors: KeyboardInterrupt for those that stop the guest."""
        self._look(data)
        if len(data) > self.terminal.room:
            self.files.write(BELL)  # Not waiting: the keys that stop the guest must always work.
        else:
            self.send(data)

    def _at_end(self) -> bool:
        """Return whether all output of the guest was shown."""
        return self.end_offset is not None and self.terminal.position.offset >= self.end_offset


def run_on_port(plan: GuestPlan, channel: KernelChannel) -> None:
    """Run a guest with its console on a serial port, and that on the user's terminal, to its end.

    While the guest boots, Ctrl-C stops it; after that it gets every key. Errors: of AttachGuest;
    GuestTimeout; GuestError if the guest fails; KeyboardInterrupt.
    """
    source, target = sys.stdin.fileno(), sys.stdout.fileno()
    with contextlib.ExitStack() as window:
        console = window.enter_context(GuestConsole(target))
        keeper = Keeper(plan, channel, console)
        port = Serial(channel, keeper.attach())
        window.callback(keeper.close)
        files = window.enter_context(contextlib.closing(LateInput(source, target)))
        screen = window.enter_context(terminal_restored(target))
        window.enter_context(raw_output(target))

        def take_keys() -> None:
            window.enter_context(raw_terminal(source))

        def keep() -> None:
            try:
                keeper.run()
            finally:
                pump.kept.set()

        def note_end() -> None:
            with contextlib.suppress(VirtmeshError):
                pump.end_offset = port.info().output_offset

        pump = GuestPump(port.plug_in(), files, screen, keeper, take_keys)
        keeper.on_finished = note_end
        thread = threading.Thread(target=keep, name="virtmesh-guest-keeper")
        thread.start()
        try:
            pump.run()
        finally:
            keeper.interrupt()
            thread.join()
    check(keeper.ending)


def check(ending: Ending) -> None:
    """Raise what a guest has ended with. Errors: VirtmeshError."""
    if ending.error is not None:
        raise ending.error
    if ending.status and not ending.asked:
        raise GuestError(
            f"the guest ended with {spell_exit(ending.status)}: its last output above tells why"
        )
