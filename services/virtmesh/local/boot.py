"""A guest on the CPU of a machine, with its serial console on the user's terminal.

Threads: the supervisor of the machine's processes has one (virtmesh.local.supervised); one watches
the CPU; the pump's two carry the console. The caller's thread waits for the end of the guest, and
is the one that Ctrl-C interrupts.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

from virtmesh_client.serial.console import ConsoleOptions, ConsolePump
from virtmesh_client.serial.models import OLDEST, Output
from virtmesh_client.serial.pump import FilePair
from virtmesh_client.serial.raw_terminal import raw_output, raw_terminal, terminal_restored
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.uart.spec import COMPATIBLE as NS16550A

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtmesh_client.cpu.models import CpuStatus
    from virtmesh_client.machine import Machine
    from virtmesh_client.serial.models import SerialEvent

STEP_SECONDS = 0.05
"""How often it is looked at whether the guest has ended."""
QUIET_SECONDS = 1.0
"""How long the last output of a guest is waited for, when its end is not known."""
NO_FILE = -1


class CpuWatch:
    """Watches the CPU on a thread of its own, until the guest or the machine has ended."""

    def __init__(self, machine: Machine) -> None:
        self.off = threading.Event()
        self.status: CpuStatus | None = None
        self.error: VirtmeshError | None = None
        self._machine = machine
        self._thread = threading.Thread(target=self._run, name="virtmesh-cpu-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for status in self._machine.cpu().watch():
                self.status = status
                if status.state == "off":
                    break
        except VirtmeshError as error:
            self.error = error
        finally:
            self.off.set()


class BootPump(ConsolePump):
    """Shows what the port sends until the guest has ended; keys go to the guest.

    The end of the input is not the end: a script may have nothing to type.
    """

    watch: CpuWatch
    end_offset: Callable[[], int | None]

    def events(self) -> Iterator[SerialEvent]:
        """Yield the events of the line, to the end of the guest's output."""
        end: int | None = None
        while not self.files.ended:
            event = self.terminal.next_event(STEP_SECONDS)
            if event is not None:
                yield event
            elif self.watch.off.is_set():
                end = self.end_offset() if end is None else end
                if end is None or self.terminal.position.offset >= end:
                    return
                last = self.terminal.next_event(QUIET_SECONDS)
                if last is None:
                    return
                yield last

    def take(self, event: SerialEvent) -> None:
        """Show output; of the connection, only what the guest's user must know."""
        if isinstance(event, Output) or not self.watch.off.is_set():
            super().take(event)

    def finish(self) -> None:
        """Go on without input."""


def run_console(
    machine: Machine, watch: CpuWatch, escape: bytes | None, tell: Callable[[str], object]
) -> bool:
    """Run the console until the guest has ended. Returns False if the user left before."""
    ports = [one.name for one in machine.devices() if one.compatible == NS16550A]
    if not ports:
        watch.off.wait()
        return True
    source, target = sys.stdin.fileno(), sys.stdout.fileno()
    port = machine.serial(ports[0], since=OLDEST)

    def end_offset() -> int | None:
        with contextlib.suppress(VirtmeshError):
            return port.info().output_offset
        return None

    with contextlib.ExitStack() as window:
        files = window.enter_context(contextlib.closing(FilePair(source, target)))
        screen = window.enter_context(terminal_restored(target))
        window.enter_context(raw_output(target))
        if escape is not None:
            window.enter_context(raw_terminal(source))
        pump = BootPump(port.plug_in(), files, ConsoleOptions(escape=escape, tell=tell), screen)
        pump.watch, pump.end_offset = watch, end_offset
        pump.run()
    return watch.off.is_set()
