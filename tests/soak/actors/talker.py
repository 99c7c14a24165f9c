"""A client that talks with the monitor on the serial line, and checks what came there."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from tests.soak.actors.actor import Actor
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.uart.errors import ExpectTimeout

if TYPE_CHECKING:
    from tests.soak.actors.actor import World
    from virtmesh_client.serial.device import Serial
    from virtmesh_client.serial.patterns import Match

PROMPT = "virtmesh> "
ANSWER = re.compile(r"sink: received (\d+) sha256 ([0-9a-f]{64}) overruns (\d+)")
PATIENCE = 30.0
"""Seconds for an answer of a line that nothing disturbs."""
LOOK = 1.0
SILENCE = 1.5
"""Longer than a sink waits for more."""
SIZES = (16, 300, 4096)


class Talker(Actor):
    """Sends lines and bytes, and compares what the monitor says of them."""

    role = "talker"

    def __init__(self, world: World, device: str, number: int = 0) -> None:
        super().__init__(world, device, number)
        self.sent = 0
        """Characters of the round."""
        self._serial: Serial | None = None
        self._is_ready = False
        """At a prompt, with nothing of before under way."""

    def step(self) -> None:
        """Hold one dialogue."""
        begin = self.journal.now()
        serial = self._ready(begin)
        data = self.chance.randbytes(self.chance.choice(SIZES))
        self.operation = "sink"
        self._send(serial, f"sink {len(data)}\r".encode())
        self._expect(serial, f"waiting for {len(data)} bytes", begin)
        self._send(serial, data)
        answer = self._expect(serial, ANSWER, begin)
        self._expect(serial, PROMPT, begin)
        count, digest, overruns = answer.groups
        right = (str(len(data)), hashlib.sha256(data).hexdigest(), "0")
        if (count, digest, overruns) == right:
            self.did("sink", begin, len(data))
        elif self._is_disturbed(begin):
            self.did("sink, disturbed", begin, len(data))
            self._is_ready = False
        else:
            self.wrong(f"{len(data)} bytes were sent to {self.device}; {answer.groups} came")
        self.gate.sleep(self.chance.uniform(0.0, 0.2))

    def failed(self, error: VirtmeshError) -> None:
        """Find the prompt again first."""
        self._is_ready = False
        self.close()

    def end(self) -> None:
        """Unplug."""
        self.close()

    def close(self) -> None:
        """Unplug the terminal; the next step plugs in another one."""
        serial, self._serial = self._serial, None
        if serial is not None:
            serial.close()

    def _ready(self, begin: float) -> Serial:
        """Return the terminal, at a prompt."""
        self.operation = "prompt"
        if self._serial is None:
            self._serial = self.machine.serial(self.device, timeout=PATIENCE)
        serial = self._serial
        if not self._is_ready:
            while serial.read(timeout=SILENCE):
                pass
            self._send(serial, b"\x03\r")
            self._expect(serial, PROMPT, begin)
            while serial.read(timeout=SILENCE):
                pass
            self._is_ready = True
        return serial

    def _send(self, serial: Serial, data: bytes) -> None:
        self.sent += len(data)
        serial.write(data)

    def _expect(self, serial: Serial, pattern: str | re.Pattern[str], begin: float) -> Match:
        """Wait for an answer, long; but not if what was done to the line can have taken it."""
        looks = int(PATIENCE / LOOK)
        for look in range(looks):
            try:
                return serial.expect(pattern, timeout=LOOK)
            except ExpectTimeout:
                if look == looks - 1 or (look and self._is_disturbed(begin)):
                    raise
        raise AssertionError("the last look returns or raises")

    def _is_disturbed(self, begin: float) -> bool:
        return any(True for _ in self.journal.felt(self.device, begin, self.journal.now()))
