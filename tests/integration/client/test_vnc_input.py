"""What a viewer types and points at, on a machine of real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import virtmesh_client
from tests.support.cli import Cli, eventually, own_folder
from tests.support.rfb_viewer import (
    CURSOR,
    EXTENDED_KEY,
    EXTENDED_SIZE,
    MOTION,
    NAME,
    RAW,
    ZRLE,
    RfbViewer,
    viewing,
)
from tests.support.vnc_rig import VncRig, vnc_rig
from virtmesh.testing.screen_text import read_screen
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

pytestmark = pytest.mark.processes
SECONDS = 30.0
VNCDO = str(Path(sys.executable).with_name("vncdo"))
WIDTH, HEIGHT = 320, 200
SHIFT, RETURN, CAPS_LOCK, F5 = 0xFFE1, 0xFF0D, 0xFFE5, 0xFFC2
LEFT, WHEEL_UP, WHEEL_DOWN = 1, 8, 16


@pytest.fixture(scope="module")
def machine() -> Iterator[Cli]:
    """Start a machine with a GPU, a keyboard, a tablet and a mouse."""
    with own_folder() as cli:
        inputs = [word for name in ("keyboard", "tablet", "mouse") for word in ("--input", name)]
        cli.up("--no-serial", "--device", f"gpu,mode={WIDTH}x{HEIGHT}", *inputs)
        yield cli


class Watched:
    """The events that the driver of a device receives."""

    def __init__(self, watch: virtmesh_client.input.aio.AsyncWatch) -> None:  # type: ignore[type-arg]
        self._watch = watch

    async def next(self, count: int) -> list[str]:
        """Return the next events, without those that end packets."""
        found: list[str] = []
        async with time_limit(SECONDS):
            while len(found) < count:
                event = (await anext(self._watch)).event
                if not event.is_report:
                    found.append(str(event))
        return found


@asynccontextmanager
async def watched(cli: Cli, name: str) -> AsyncIterator[Watched]:
    """Watch a device."""
    async with (
        await virtmesh_client.aconnect(cli.state.address) as machine,
        await machine.input(name).watch() as watch,
    ):
        yield Watched(watch)


@asynccontextmanager
async def viewer_of(
    cli: Cli, *encodings: int, **options: Any
) -> AsyncIterator[tuple[RfbViewer, VncRig]]:
    """Give a viewer that has seen the screen, and whose input devices are found."""
    async with (
        vnc_rig(cli.state.address, screen="gpu", **options) as rig,
        viewing(rig.address, *encodings, NAME) as viewer,
    ):
        viewer.ask()
        await viewer.update()
        if not options.get("view_only"):
            await rig.until_told("keys go to")
        yield viewer, rig


def down_up(*names: str) -> list[str]:
    """Return the events of keys, each pressed and released."""
    return [f"{name} {value}" for name in names for value in (1, 0)]


async def test_keys_by_their_place(machine: Cli) -> None:
    """Scan codes of QEMU's extension, whatever the viewer's layout makes of them."""
    async with watched(machine, "keyboard") as events, viewer_of(machine, EXTENDED_KEY) as (it, _):
        assert (EXTENDED_KEY, (0, 0, 0, 0)) in it.seen.notes
        codes = {0x1E: "KEY_A", 0x56: "KEY_102ND", 0x9D: "KEY_RIGHTCTRL", 0xC8: "KEY_UP"}
        for code in codes:
            it.scancode(code, down=True, keysym=0x71)
            it.scancode(code, down=True, keysym=0x71)  # the viewer repeats; the guest does itself
            it.scancode(code, down=False, keysym=0x71)
        assert await events.next(2 * len(codes)) == down_up(*codes.values())


async def test_keys_by_what_they_type(machine: Cli) -> None:
    """Without the extension: the key of the guest's layout, with the Shift that it takes there."""
    async with watched(machine, "keyboard") as events, viewer_of(machine) as (it, _):
        for keysym in (ord("A"), ord("b"), RETURN, F5):
            it.key(keysym, down=True)
            it.key(keysym, down=False)
        wanted = ["KEY_LEFTSHIFT 1", "KEY_A 1", "KEY_A 0", "KEY_LEFTSHIFT 0"]
        wanted += down_up("KEY_B", "KEY_ENTER", "KEY_F5")
        assert await events.next(len(wanted)) == wanted


async def test_what_is_typed_is_seen(machine: Cli) -> None:
    """With no guest at all: a viewer types to the monitor, and reads the answer in its picture."""
    async with viewer_of(machine, ZRLE, CURSOR) as (it, _):
        for letter in "nonsense":
            it.key(ord(letter), down=True)
            it.key(ord(letter), down=False)
        it.key(RETURN, down=True)
        await it.until(lambda: any("nonsense: " in line for line in text_of(it)))


def text_of(viewer: RfbViewer) -> Sequence[str]:
    """Read the screen by the font of the virtual terminal."""
    flat = [bytes((blue, green, red, 255)) for row in viewer.rows for red, green, blue in row]
    return read_screen(viewer.width, viewer.height, b"".join(flat))


async def test_another_layout_of_the_guest(machine: Cli) -> None:
    """The slash of an American viewer is Shift and 7 on a German keyboard, and z is y."""
    async with (
        watched(machine, "keyboard") as events,
        viewer_of(machine, layout="de") as (it, _),
    ):
        for keysym in (ord("/"), ord("z"), 0xE4):
            it.key(keysym, down=True)
            it.key(keysym, down=False)
        wanted = ["KEY_LEFTSHIFT 1", "KEY_7 1", "KEY_7 0", "KEY_LEFTSHIFT 0"]
        wanted += down_up("KEY_Y", "KEY_APOSTROPHE")
        assert await events.next(len(wanted)) == wanted


async def test_a_foreign_viewer_types(machine: Cli) -> None:
    """Each key of vncdotool arrives, pressed and released, in order; the last one as well."""
    async with (
        watched(machine, "keyboard") as events,
        vnc_rig(machine.state.address, screen="gpu") as rig,
    ):
        where = "{}::{}".format(*rig.address)
        keys = ("type", "Az9", "key", "enter", "key", "ctrl-c")
        typing = await asyncio.create_subprocess_exec(VNCDO, "-s", where, *keys)
        wanted = ["KEY_LEFTSHIFT 1", "KEY_A 1", "KEY_A 0", "KEY_LEFTSHIFT 0"]
        wanted += down_up("KEY_Z", "KEY_9", "KEY_ENTER")
        wanted += ["KEY_LEFTCTRL 1", "KEY_C 1", "KEY_C 0", "KEY_LEFTCTRL 0"]
        assert await events.next(len(wanted)) == wanted
        async with time_limit(SECONDS):
            assert await typing.wait() == 0


async def test_what_is_held_is_released_when_the_viewer_goes(machine: Cli) -> None:
    """A key that another viewer holds as well stays down until that one lets go."""
    async with watched(machine, "keyboard") as events, viewer_of(machine, EXTENDED_KEY) as (it, _):
        async with viewer_of(machine, EXTENDED_KEY) as (other, rig):
            for one in (it, other):
                one.scancode(0x2A, down=True)
            other.scancode(0x1E, down=True)
            assert await events.next(2) == ["KEY_LEFTSHIFT 1", "KEY_A 1"]
            other.writer.close()
            await rig.until_told("is disconnected")
            assert await events.next(1) == ["KEY_A 0"]
        it.scancode(0x2A, down=False)
        assert await events.next(1) == ["KEY_LEFTSHIFT 0"]


@pytest.mark.parametrize("rest", [b"\5\0", b"\x63", b""], ids=["half", "nonsense", "nothing"])
async def test_the_last_key_before_the_end(machine: Cli, rest: bytes) -> None:
    """It arrives, however the viewer ends."""
    async with watched(machine, "keyboard") as events:
        async with viewer_of(machine) as (it, rig):
            it.writer.write(struct.pack(">BB2xI", 4, 1, ord("x")) + rest)
            it.writer.write_eof()
            await rig.until_told("is disconnected")
        assert await events.next(2) == down_up("KEY_X")


async def test_the_pointer_is_the_tablet(machine: Cli) -> None:
    """The corners of the screen are those of its axes; buttons and the wheel come with them."""
    async with watched(machine, "tablet") as events, viewer_of(machine) as (it, _):
        it.point(0, 0)
        assert await events.next(2) == ["ABS_X 0", "ABS_Y 0"]
        it.point(WIDTH - 1, HEIGHT - 1, LEFT)
        assert await events.next(3) == ["ABS_X 32767", "ABS_Y 32767", "BTN_LEFT 1"]
        it.point(WIDTH - 1, HEIGHT - 1)
        assert await events.next(1) == ["BTN_LEFT 0"]
        it.point(WIDTH - 1, HEIGHT - 1, WHEEL_UP)
        assert await events.next(2) == ["REL_WHEEL 1", "REL_WHEEL_HI_RES 120"]
        it.point(WIDTH - 1, HEIGHT - 1)
        it.point(65535, 65535, WHEEL_DOWN)
        assert await events.next(2) == ["REL_WHEEL -1", "REL_WHEEL_HI_RES -120"]


async def test_the_pointer_as_a_mouse(machine: Cli) -> None:
    """Motions are agreed on with a viewer that can; from others the difference is taken."""
    async with watched(machine, "mouse") as events:
        async with viewer_of(machine, MOTION, CURSOR, pointer="mouse") as (it, _):
            await it.until(lambda: (MOTION, (0, 0, 0, 0)) in it.seen.notes)
            assert it.seen.shapes[-1].size == (0, 0)
            it.point(0x7FFF + 5, 0x7FFF - 3)
            assert await events.next(2) == ["REL_X 5", "REL_Y -3"]
            it.point(0x7FFF, 0x7FFF, LEFT)
            it.point(0x7FFF, 0x7FFF)
            assert await events.next(2) == down_up("BTN_LEFT")
        async with viewer_of(machine, pointer="mouse") as (it, _):
            it.point(100, 100)
            it.point(110, 90)
            assert await events.next(2) == ["REL_X 10", "REL_Y -10"]


async def test_who_only_looks(machine: Cli) -> None:
    """Keys, the pointer and sizes of it do nothing."""
    async with (
        watched(machine, "keyboard") as events,
        viewer_of(machine) as (it, _),
        viewer_of(machine, EXTENDED_SIZE, view_only=True) as (looker, _),
    ):
        looker.key(ord("x"), down=True)
        looker.point(1, 1)
        looker.wish_size(64, 48)
        prohibited = (EXTENDED_SIZE, (1, 1, WIDTH, HEIGHT))
        await looker.until(lambda: prohibited in looker.seen.notes)
        it.key(ord("y"), down=True)
        assert await events.next(1) == ["KEY_Y 1"]


async def test_a_viewer_wishes_for_another_size(machine: Cli) -> None:
    """The driver of the machine follows; what it can't have is refused, and told."""
    async with viewer_of(machine, EXTENDED_SIZE) as (it, _):
        it.wish_size(400, 300)
        await it.until(lambda: (it.width, it.height) == (400, 300))
        assert (EXTENDED_SIZE, (1, 4, WIDTH, HEIGHT)) in it.seen.notes
        for width, height, screens in ((5, 5, 1), (0, 0, 1), (640, 480, 2), (640, 480, 0)):
            it.seen.notes.clear()
            it.wish_size(width, height, screens)
            await it.until(lambda: (EXTENDED_SIZE, (1, 3, 400, 300)) in it.seen.notes)
        it.wish_size(WIDTH, HEIGHT)
        await it.until(lambda: (it.width, it.height) == (WIDTH, HEIGHT))


async def test_the_gpu_is_killed(machine: Cli) -> None:
    """The viewer stays; it is told, and sees the screen again when that is back."""
    async with viewer_of(machine) as (it, rig):
        before = machine.process("gpu")
        os.kill(before.pid, signal.SIGKILL)
        await rig.until_told("gpu is lost")
        await it.until(lambda: "gpu (lost)" in it.seen.names)
        await rig.until_told("gpu is back")
        await it.until(lambda: it.seen.names[-1] == "gpu")


async def test_the_keyboard_is_killed(machine: Cli) -> None:
    """Keys that are pressed meanwhile are typed when it is back."""
    async with viewer_of(machine, EXTENDED_KEY) as (it, rig):
        before = machine.process("keyboard")
        os.kill(before.pid, signal.SIGKILL)
        it.scancode(0x1E, down=True)
        it.scancode(0x1E, down=False)
        it.ask(whole=True)
        await it.update()
        await asyncio.to_thread(
            eventually, lambda: machine.process("keyboard").restarts > before.restarts
        )
        async with await virtmesh_client.aconnect(machine.state.address) as connection:
            keyboard = connection.input("keyboard")
            async with time_limit(SECONDS):
                while (await keyboard.stats()).packets_delivered < 2:
                    pass
    assert not any("are dropped" in line for line in rig.lines)


async def test_the_command(machine: Cli) -> None:
    """It prints where it listens, tells who comes, and ends well with Ctrl-C."""
    with machine.spawn("screen", "vnc", "--listen", "127.0.0.1:0") as command:
        assert command.stdout is not None
        assert command.stderr is not None
        line = await asyncio.to_thread(command.stdout.readline)
        host, _, port = line.decode().strip().rpartition(":")
        async with viewing((host, int(port)), RAW) as viewer:
            assert viewer.name == "gpu"
            viewer.ask()
            await viewer.update()
            os.kill(command.pid, signal.SIGINT)
            await viewer.end()
        out, err = await asyncio.to_thread(command.communicate, timeout=SECONDS)
    assert (command.returncode, out) == (0, b"")
    assert err.decode().startswith("Serving gpu to VNC viewers; press Ctrl-C to stop\n")
    assert "is connected" in err.decode()
    assert "is disconnected" in err.decode()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--listen", "0.0.0.0:0"), "without a password only this host may connect"),
        (("--password-file", "long"), "a VNC password has 1 to 8 characters, and not 9"),
        (("--scanout", "3"), "gpu has no screen 3"),
        (("--layout", "klingon"), "klingon"),
        (("--keyboard", "nodev"), "nodev"),
        (("--keyboard", "tablet"), "tablet is a tablet: it can't be the keyboard"),
        (("--keyboard", "gpu"), "gpu"),
        (("--pointer", "nodev"), "nodev"),
        (("--pointer", "keyboard"), "keyboard is a keyboard: it can't be the pointer"),
        (("--pointer", "gpu"), "gpu"),
    ],
)
def test_what_can_not_be_served(machine: Cli, options: tuple[str, ...], words: str) -> None:
    """The reason is told before anybody can connect."""
    (machine.folder / "long").write_text("123456789\n")
    done = machine("screen", "vnc", "--listen", "127.0.0.1:0", *options)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_in_use(machine: Cli) -> None:
    """The line says so, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        done = machine("screen", "vnc", "--listen", place)
    assert done.returncode == 2
    assert f"virtmesh: {place} is in use; choose another with --listen" in done.stderr
