"""The commands about the serial port that the monitor runs on: queue and sink."""

from __future__ import annotations

import hashlib

import pytest

from tests.support.console_rig import ConsoleRig
from virtmesh.kernel.monitor.commands import serial
from virtmesh.kernel.monitor.session import PROMPT


async def test_queue_switches_the_kernel_queue(desk: ConsoleRig) -> None:
    """Of the serial port that the console is on."""
    await desk.ask("queue off")
    off = desk.tty.kernel_queue
    await desk.ask("queue on")

    assert (off, desk.tty.kernel_queue) == (False, True)


async def test_sink_takes_any_bytes_and_tells_their_hash(desk: ConsoleRig) -> None:
    """^C, escapes and what is no UTF-8 among them; what comes behind is for the next prompt."""
    data = bytes(range(256)) * 40
    await desk.tty.type(f"sink {len(data)}\r")
    await desk.tty.until(f"sink: waiting for {len(data)} bytes\r\n")

    await desk.tty.type(data[:5000])
    desk.tty.overruns_seen += 2
    await desk.tty.type(data[5000:] + b"uname\r")

    digest = hashlib.sha256(data).hexdigest()
    assert await desk.tty.until(PROMPT) == (
        f"sink: received {len(data)} sha256 {digest} overruns 2\r\n{PROMPT}"
    )
    assert (await desk.tty.until(PROMPT)).startswith("uname\r\nvirtmesh")


async def test_sink_ends_when_no_more_comes(
    desk: ConsoleRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells what has come."""
    monkeypatch.setattr(serial, "SILENCE_S", 0.01)

    await desk.tty.type("sink 100\rabc")

    digest = hashlib.sha256(b"abc").hexdigest()
    assert await desk.tty.until(PROMPT) == (
        "sink 100\r\nsink: waiting for 100 bytes\r\n"
        f"sink: received 3 sha256 {digest} overruns 0\r\n{PROMPT}"
    )


async def test_the_end_of_the_line_is_not_for_the_sink(desk: ConsoleRig) -> None:
    """Whoever ends lines with CR LF gets the hash of the bytes behind them."""
    await desk.tty.type("sink 3\r\nabc")

    digest = hashlib.sha256(b"abc").hexdigest()
    assert f"received 3 sha256 {digest}" in await desk.tty.until("overruns")


async def test_sink_does_not_wait_for_ever(
    desk: ConsoleRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sends anything."""
    monkeypatch.setattr(serial, "FIRST_S", 0.01)

    digest = hashlib.sha256(b"").hexdigest()
    assert f"received 0 sha256 {digest}" in await desk.ask("sink 100")


async def test_the_boot_log_is_held_back_while_a_sink_runs(desk: ConsoleRig) -> None:
    """A script finds its lines as they were promised."""
    await desk.tty.type("sink 3\r")
    await desk.tty.until("bytes\r\n")
    desk.kernel.boot_log.add("in between")
    await desk.tty.type("abc")

    assert "in between" not in await desk.tty.until("overruns 0\r\n")
    assert "in between" in await desk.tty.until(PROMPT) + await desk.tty.until(PROMPT)
