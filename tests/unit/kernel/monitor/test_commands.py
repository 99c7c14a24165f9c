"""The monitor on a tty in memory: prompts, commands, cancelling, the boot log in between."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.support.console_rig import ConsoleRig, sitting
from virtmesh.kernel.monitor import commands
from virtmesh.kernel.monitor.command import Command, command
from virtmesh.kernel.monitor.session import PROMPT
from virtmesh.kernel.monitor.shell import Shell
from virtmesh.kernel.monitor.typed import HELD_MAX
from virtmesh_common import __version__
from virtmesh_common.errors import DeviceLost


async def test_boot_messages_come_before_the_banner_and_the_prompt() -> None:
    """Also those from before the console was there; lines end as terminals want it."""
    desk = ConsoleRig()
    running = asyncio.create_task(desk.session.run())

    seen = await desk.tty.until(PROMPT)
    running.cancel()

    first, *_ = lines = seen.split("\r\n")
    assert re.fullmatch(
        rf"\[ *\d+\.\d{{6}}\] virtmesh {re.escape(__version__)}, machine test", first
    )
    assert any("bytes from a test" in line for line in lines)
    assert lines[-3:] == [
        *("", f"Welcome to virtmesh {__version__}, machine test; type help", PROMPT)
    ]
    assert "\n" not in seen.replace("\r\n", "")


async def test_what_the_kernel_says_appears_above_the_line_being_typed(desk: ConsoleRig) -> None:
    """The line is erased, and shown again behind the message."""
    await desk.tty.type("lsd")
    await desk.tty.until("lsd")

    desk.kernel.boot_log.add("vda: lost")

    assert (await desk.tty.until("lsd")).startswith("\r\x1b[K[")
    await desk.tty.type("ev\r")
    assert "NAME" in await desk.tty.until(PROMPT)


async def test_help_names_every_command(desk: ConsoleRig) -> None:
    """And `help COMMAND` says how it is used."""
    shown = await desk.ask("help")
    about = await desk.ask("help blk")

    assert set(commands.all_commands()) <= {line.split(" ")[0] for line in shown.split("\r\n")}
    assert about.startswith("Usage: blk [OPTIONS] {read} N [COUNT]")
    assert "..." not in shown


async def test_plain_commands_answer(desk: ConsoleRig) -> None:
    """A machine without devices has these."""
    assert await desk.ask("uname") == f"virtmesh {__version__} test\r\n"
    assert await desk.ask("version") == await desk.ask("uname")
    assert (await desk.ask("uptime")).endswith(", 0 of 0 devices ready\r\n")
    assert (await desk.ask("lsdev")).startswith("NAME")
    assert (await desk.ask("irq")).startswith("IRQ")
    assert (await desk.ask("dmesg -n 1")).endswith("the machine has no serial port\r\n")
    assert await desk.ask("") == ""
    assert await desk.ask("clear") == "\x1b[H\x1b[2J"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("bogus", "bogus: no such command. Try: help"),
        ("help bogus", "help: 'bogus' is no command. Try: help"),
        ("dmesg -n x", "dmesg: Invalid value for '-n': 'x' is not a valid integer"),
        ("dmesg -n 0", "dmesg: Invalid value for '-n': 0 is not in the range"),
        ("dmesg --nonsense", "dmesg: No such option"),
        ("lsdev more", "lsdev: Got unexpected extra argument (more) Try: help lsdev"),
        ("blk read", "blk: Missing argument 'N'."),
        ("blk write 1", "blk: Invalid value for '{read}'"),
        ("blk read 0", "blk: no disk is ready. lsdev says why"),
        ("blk read 0 -d vda", "blk: test has no device 'vda'"),
        ("hexdump vda 0 1", "hexdump: 'vda' is no source: write blk:vda or ram:vda"),
        ("hexdump ram:vda 0 1", "hexdump: test has no device 'vda'"),
        ("events", "events: no input device is ready. lsdev says why"),
        ("sink 0", "sink: 0 bytes can't be taken: ask for 1 to"),
        ("sink much", "sink: Invalid value for 'N': 'much' is no size"),
        ("echo 'on", "monitor: No closing quotation: close the quotes"),
        ("queue maybe", "queue: Invalid value for"),
    ],
)
async def test_mistakes_are_answered_in_one_line(desk: ConsoleRig, line: str, shown: str) -> None:
    """With the mend; and the next line is read."""
    answer = await desk.ask(line)

    assert answer.startswith(shown)
    assert answer.count("\r\n") == 1


async def test_cancel_ends_a_command(desk: ConsoleRig, extra: dict[str, Command]) -> None:
    """What was typed before ^C is dropped with it, what comes behind is for the next prompt."""
    ended = asyncio.Event()

    @command()
    async def forever(shell: Shell) -> None:
        """Wait."""
        try:
            await shell.write("waiting")
            await asyncio.Event().wait()
        finally:
            ended.set()

    extra["forever"] = forever
    await desk.tty.type("forever\r")
    await desk.tty.until("waiting\r\n")

    await desk.tty.type("dropped\r\x03uname\r")

    assert await desk.tty.until(PROMPT) == f"^C\r\n{PROMPT}"
    assert ended.is_set()
    assert (await desk.tty.until(PROMPT)).startswith("uname\r\nvirtmesh")


async def test_what_is_typed_ahead_is_done_afterwards(desk: ConsoleRig) -> None:
    """One command at a time, in order, each behind its own prompt."""
    await desk.tty.type("uname\ruptime\rversion\r")

    transcript = [await desk.tty.until(PROMPT) for _ in range(3)]

    assert [one.split("\r\n")[0] for one in transcript] == ["uname", "uptime", "version"]


async def test_typing_ahead_has_a_bound(desk: ConsoleRig, extra: dict[str, Command]) -> None:
    """More than that waits in the driver and on the line, and is done all the same."""
    go = asyncio.Event()

    @command()
    async def wait(shell: Shell) -> None:
        """Wait for the test."""
        await shell.write("waiting")
        await go.wait()

    extra["wait"] = wait
    await desk.tty.type("wait\r")
    await desk.tty.until("waiting\r\n")
    comments = b" " * 500 + b"\x15"
    await desk.tty.type(comments * (3 * HELD_MAX // len(comments)) + b"version\r")
    for _ in range(20):
        await asyncio.sleep(0)
    left = desk.tty.unread
    go.set()

    assert left > 0
    assert (await desk.tty.until(f"{__version__} test\r\n")).startswith(PROMPT)


async def test_echo_can_be_turned_off(desk: ConsoleRig) -> None:
    """Then only the prompt, line ends and answers are shown."""
    await desk.ask("echo off")

    await desk.tty.type("uname\r")

    assert await desk.tty.until(PROMPT) == f"\r\nvirtmesh {__version__} test\r\n{PROMPT}"


async def test_a_fault_of_a_command_does_not_end_the_session(
    desk: ConsoleRig, extra: dict[str, Command]
) -> None:
    """It is shown and logged, and the next command works."""

    @command()
    async def broken(_: Shell) -> None:
        """Break."""
        raise ZeroDivisionError

    extra["broken"] = broken

    assert await desk.ask("broken") == "broken: a fault of the kernel; its log says more\r\n"
    assert (await desk.ask("uname")).startswith("virtmesh")


async def test_a_command_that_loses_a_device_says_so(
    desk: ConsoleRig, extra: dict[str, Command]
) -> None:
    """Another device than the console, which goes on."""

    @command()
    async def lose(_: Shell) -> None:
        """Lose a disk."""
        raise DeviceLost("vda is lost:\nits process ended")

    extra["lose"] = lose

    assert await desk.ask("lose") == "lose: vda is lost: its process ended\r\n"


async def test_what_a_device_says_can_not_move_the_cursor(
    desk: ConsoleRig, extra: dict[str, Command]
) -> None:
    """Errors may quote a device service: control characters are shown as question marks."""

    @command()
    async def lose(_: Shell) -> None:
        """Lose a disk."""
        raise DeviceLost("vda: \x1b]0;owned\a\x1b[2J\x9b1m, grüße")

    extra["lose"] = lose

    assert await desk.ask("lose") == "lose: vda: ?]0;owned??[2J?1m, grüße\r\n"


async def test_many_short_lines_do_not_keep_the_kernel_from_its_work(desk: ConsoleRig) -> None:
    """Others run between any two of them, however fast they come."""
    running, turns = True, 0

    async def work() -> None:
        nonlocal turns
        while running:
            turns += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(work())
    await desk.tty.type("\r" * 1000 + "uname\r")
    await desk.tty.until(f"{__version__} test\r\n")
    running = False
    await working

    assert turns > 1000


async def test_the_session_ends_with_its_tty() -> None:
    """Whether it waits for a line or runs a command: the error is that of the tty."""
    desk = ConsoleRig()
    running = asyncio.create_task(desk.session.run())
    await desk.tty.until(PROMPT)

    await desk.tty.lose(DeviceLost("serial is lost"))

    with pytest.raises(DeviceLost, match="serial is lost"):
        await running


async def test_a_tty_lost_under_a_command_ends_the_session(
    extra: dict[str, Command],
) -> None:
    """The command is cancelled."""
    ended = asyncio.Event()

    @command()
    async def forever(shell: Shell) -> None:
        """Wait."""
        try:
            await shell.write("waiting")
            await asyncio.Event().wait()
        finally:
            ended.set()

    extra["forever"] = forever
    desk = ConsoleRig()
    running = asyncio.create_task(desk.session.run())
    await desk.tty.type("forever\r")
    await desk.tty.until("waiting\r\n")

    await desk.tty.lose(DeviceLost("serial is lost"))

    with pytest.raises(DeviceLost, match="serial is lost"):
        await running
    assert ended.is_set()


async def test_a_console_that_takes_nothing_does_not_delay_the_kernel(desk: ConsoleRig) -> None:
    """Lines are dropped, and when it goes on, it is told how many."""
    desk.tty.open_for_output.clear()
    for number in range(5000):
        desk.kernel.boot_log.add(f"line {number}")
        await asyncio.sleep(0)
    assert desk.kernel.boot_log.count > 5000

    desk.tty.open_for_output.set()

    assert "lines are lost" in await desk.tty.until("line 4999\r\n")


async def test_tab_completes_commands_and_devices() -> None:
    """Commands in the first word, and behind help."""
    async with sitting() as desk:
        await desk.tty.type("upt\t\r")
        assert (await desk.tty.until("\r\n")) == "uptime \r\n"
        await desk.tty.until(PROMPT)
        await desk.tty.type("help dme\t\r")
        assert (await desk.tty.until("\r\n")) == "help dmesg \r\n"
