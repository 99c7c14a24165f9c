"""A serial port that is killed under load: each character goes through once, in both directions.

The monitor of the kernel answers each line that is typed in the same way, so that all of the output
is known beforehand. Environment: VIRTMESH_KILLS, the number of kills (3), and VIRTMESH_SEED.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import SECONDS, eventually
from tests.support.killing import pid_of, spell
from virtmesh.local.restarts import QUICK_SECONDS
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from tests.support.cli import Cli
    from virtmesh_client import Machine
    from virtmesh_client.serial.device import Serial

KILLS = int(os.environ.get("VIRTMESH_KILLS", "3"))
pytestmark = [pytest.mark.processes, pytest.mark.timeout(90 + 12 * KILLS)]
SEED = int(os.environ.get("VIRTMESH_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
PROMPT = b"virtmesh> "
LINE = "x{:06}"
"""No command: the monitor says so, with the word."""


LOG = rb"(?:\[ *\d+\.\d{6}\] [^\n]*\n)+"
REDRAWN = rb"(virtmesh> [x0-9]*)(?:\r\x1b\[K\1)+"
"""A line that is being typed gives way to the log, and is there again behind it."""


def without_log(text: bytes) -> bytes:
    """Return the output without the log of the kernel, which it shows as it comes."""
    return re.sub(REDRAWN, rb"\1", re.sub(LOG, b"", text))


def difference(text: bytes, shown: bytes, expected: bytes) -> str:
    """Return what came where the outputs differ first, as it came."""
    pairs = enumerate(zip(shown, expected, strict=False))
    index = next((at for at, (one, other) in pairs if one != other), len(shown))
    word = re.findall(rb"x\d{6}", shown[:index])[-1:] or [b""]
    begin = max(0, text.find(word[0]))
    return f"{shown[index - 80 : index + 80]!r}; it came as {text[begin : begin + 600]!r}"


class Typist(threading.Thread):
    """Types lines with numbers, without waiting for answers."""

    def __init__(self, port: Serial, stop: threading.Event) -> None:
        super().__init__(name="typist")
        self.lines = 0
        self.longest = 0.0
        self.errors: list[BaseException] = []
        self._port = port
        self._halt = stop

    def run(self) -> None:
        """Type until told to stop."""
        try:
            while not self._halt.is_set():
                begun = time.monotonic()
                self._port.send_line(LINE.format(self.lines + 1))
                self.longest = max(self.longest, time.monotonic() - begun)
                self.lines += 1
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.errors.append(error)


class Screen(threading.Thread):
    """Keeps all that the machine sends."""

    def __init__(self, port: Serial) -> None:
        super().__init__(name="screen")
        self.text = bytearray()
        self.errors: list[BaseException] = []
        self.halt = threading.Event()
        self.port = port

    def shows(self, word: bytes) -> bool:
        """Say whether a word has come, and the prompt behind it."""
        return word in self.text and self.text.endswith(PROMPT)

    def run(self) -> None:
        """Read until told to stop."""
        try:
            while not self.halt.is_set():
                self.text += self.port.read(timeout=0.1)
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.errors.append(error)


def outage(machine: Machine, pid: int) -> float:
    """Kill the port; return the seconds until the kernel uses it again."""
    os.kill(pid, signal.SIGKILL)
    begun = time.monotonic()
    was_away = False
    while time.monotonic() - begun < SECONDS:
        state = next(one.state for one in machine.devices() if one.name == "serial")
        was_away |= state != "ready"
        if was_away and state == "ready":
            return time.monotonic() - begun
        time.sleep(0.002)
    pytest.fail(f"the port is not back after {SECONDS:g} s")


def answer(port: Serial) -> bytes:
    """Return what the machine sends for line 0, from a prompt to the next one."""
    port.expect(PROMPT)
    port.send_line(LINE.format(0))
    return port.expect(PROMPT).before + PROMPT


def test_each_character_comes_once_although_the_port_is_killed(cli: Cli) -> None:
    """No error, no gap, no character lost or doubled, in either direction."""
    cli.up("--serial")
    chance = random.Random(SEED)  # noqa: S311 - reproducible
    stop = threading.Event()
    outages: list[float] = []
    with (
        virtmesh_client.connect(f"unix:{cli.run_dir}/kernel.sock") as machine,
        machine.serial(tail=1 << 16) as port,
        machine.serial() as keys,
    ):
        one = answer(port)
        typist, screen = Typist(keys, stop), Screen(port)
        typist.start()
        screen.start()
        for number in range(KILLS):
            soon = 0.0 if number % 2 else QUICK_SECONDS
            stop.wait(soon + chance.uniform(0.05, 0.6))
            outages.append(outage(machine, pid_of(cli, "serial")))
        stop.set()
        typist.join(SECONDS)
        words = [LINE.format(number + 1).encode() for number in range(typist.lines)]
        expected = b"".join(one.replace(LINE.format(0).encode(), word) for word in words)
        eventually(lambda: screen.shows(words[-1] + b": ") or not screen.is_alive())
        screen.halt.set()
        screen.join(SECONDS)
        stats = machine.serial().stats()
        restarts, missed = port.restarts, port.missed_bytes
    say(
        f"seed {SEED}: {KILLS} kills, {typist.lines} lines typed, {len(expected)} characters"
        f" expected, {len(screen.text)} came, slowest call {typist.longest:.3f} s; outages in s"
        f" {spell(outages)}; {stats}"
    )
    assert typist.errors + screen.errors == []
    assert not typist.is_alive()
    assert (restarts, missed) == (0, 0)
    shown = without_log(bytes(screen.text))
    assert shown == expected, difference(bytes(screen.text), shown, expected)


def test_asyncio_sees_no_error_either(cli: Cli) -> None:
    """The other face of the library: typing, pressing and reading over a death of both devices."""
    cli.up("--serial", "--input", "keyboard")

    async def use() -> list[tuple[int, int]]:
        address = f"unix:{cli.run_dir}/kernel.sock"
        async with (
            await virtmesh_client.aconnect(address) as machine,
            machine.serial(tail=1 << 16) as port,
            machine.input("keyboard") as keyboard,
        ):
            await port.expect(PROMPT)
            await keyboard.press("a", wait="delivered")
            async with await keyboard.watch() as events:
                for name in ("serial", "keyboard"):
                    os.kill(pid_of(cli, name), signal.SIGKILL)
                await port.send_line(LINE.format(7))
                await port.expect(PROMPT)
                await keyboard.release("a", wait="delivered")
                received = [await anext(events), await anext(events)]
                return [(one.event.type, one.event.value) for one in received]

    assert asyncio.run(use()) == [(1, 0), (0, 0)]
