"""What uses a device while a scenario runs: reads of a disk, characters for a serial port.

Nothing that is there is changed: disks are only read. What a serial port receives, its driver gets.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.machine import Machine

BLOCK = 4096
LINE = b"the quick brown fox jumps over the lazy dog\r"
PAUSE_SECONDS = 0.005
"""Between two operations, so that the load leaves others their share."""
END_SECONDS = 30.0
"""How long the end of an operation is waited for, when the scenario is over."""


class Load:
    """A thread that uses one device again and again, from `start` to `stop`."""

    def __init__(self, machine: Machine, name: str, kind: str) -> None:
        self.served = 0
        """Operations that succeeded."""
        self.failed = 0
        """Operations that failed."""
        self.last_error = ""
        self._machine = machine
        self._name = name
        self._operation = self._operations()[kind]
        self._count = 0
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"load of {name}", daemon=True)

    @staticmethod
    def kinds() -> tuple[str, ...]:
        """Return the kinds of devices that can be used."""
        return ("blk", "uart")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the operation that is under way."""
        self._halt.set()
        self._thread.join(END_SECONDS)

    def _operations(self) -> dict[str, Callable[[], None]]:
        return {"blk": self._read, "uart": self._send}

    def _run(self) -> None:
        """Use the device until told to stop."""
        while not self._halt.wait(PAUSE_SECONDS):
            try:
                self._operation()
            except VirtmeshError as error:
                self.failed += 1
                self.last_error = error.message
            else:
                self.served += 1
            self._count += 1

    def _read(self) -> None:
        """Read one block after the other, of the first 1000."""
        disk = self._machine.disk(self._name)
        blocks = max(min(disk.info().capacity_bytes // BLOCK, 1000), 1)
        disk.read(self._count % blocks * BLOCK, BLOCK)

    def _send(self) -> None:
        """Send a line."""
        with self._machine.serial(self._name) as serial:
            serial.write(LINE)
