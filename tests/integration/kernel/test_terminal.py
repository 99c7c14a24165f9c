"""The monitor on a screen of the machine: typed by injection, read by the glyphs of its font."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.terminal_rig import MODE, PROMPT, SECONDS, at_screen, machine
from virtmesh.gpu.driver import VirtIOGpu
from virtmesh.gpu.settings import Mode
from virtmesh.kernel.vt.font import WIDTH, console_font
from virtmesh_common import __version__
from virtmesh_common.evdev import code_of
from virtmesh_common.gpu.errors import CommandFailed
from virtmesh_common.input.spec import EVENTQ, STATUSQ
from virtmesh_common.memory_map import RAM_ADDRESS
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from virtmesh.virtio.served_queue import ServedQueue

HEIGHT = console_font().height
CAPSL = code_of("LED_CAPSL")[1]


async def test_what_is_typed_is_on_the_screen(tmp_path: Path) -> None:
    """Every character of the layout, and what the monitor answers."""
    text = r"""echo "~!@#$%^&*()_+`1234567890-= {}|[]\ :;' <>?,./ aZ" """.rstrip()
    async with at_screen(tmp_path, "keyboard") as rig:
        await rig.type(text)
        await rig.until_last(f"{PROMPT} {text}")
        await rig.press("ctrl+c")
        await rig.type("uname\n")
        await rig.until(lambda rig: rig.lines.count(PROMPT) == 1 and f"{PROMPT} uname" in rig.lines)
        answer = rig.lines[rig.lines.index(f"{PROMPT} uname") + 1]
        assert answer == f"virtmesh {__version__} test"


async def test_editing_is_seen(tmp_path: Path) -> None:
    """Cursor keys, deletions, and the history."""
    async with at_screen(tmp_path, "keyboard") as rig:
        await rig.type("echo on x")
        await rig.press("backspace", "backspace", "home", "delete", "e", "right", "x", "end")
        await rig.until_last(f"{PROMPT} ecxho on")
        await rig.press("ctrl+u")
        await rig.until_last(PROMPT)
        await rig.type("uptime\n")
        await rig.until(lambda rig: rig.lines.count(PROMPT) == 1 and "uptime" in str(rig.lines))
        await rig.press("up")
        await rig.until_last(f"{PROMPT} uptime")


async def test_caps_lock_lights_its_light(tmp_path: Path) -> None:
    """So `type`, which knows the light, types what was meant."""
    async with at_screen(tmp_path, "keyboard") as rig:
        output = rig.inputs["keyboard"].output
        await rig.press("capslock", "a", "shift+b", "1")
        await rig.until_last(f"{PROMPT} Ab1")
        assert CAPSL in output.leds_on
        await rig.type("Cd")
        await rig.until_last(f"{PROMPT} Ab1Cd")
        await rig.press("capslock", "e")
        await rig.until_last(f"{PROMPT} Ab1Cde")
        assert CAPSL not in output.leds_on


async def test_a_keyboard_that_obeys_no_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It types on. As soon as it obeys, its light shows how Caps Lock is now."""
    async with at_screen(tmp_path, "keyboard") as rig:
        keyboard = rig.inputs["keyboard"]
        real = keyboard.look

        def look(queue: ServedQueue) -> bool:
            return queue.index == EVENTQ and real(queue)

        with monkeypatch.context() as patch:
            patch.setattr(keyboard, "look", look)
            for key, line in (("a", "A"), ("b", "Ab"), ("c", "AbC")):
                await rig.press("capslock", key)
                await rig.until_last(f"{PROMPT} {line}")
            await rig.press("capslock")
            assert not keyboard.output.leds_on
        orders = keyboard.output.events
        keyboard.kick(STATUSQ)
        await rig.press("capslock", "d")
        await rig.until_last(f"{PROMPT} AbCD")
        async with time_limit(SECONDS):
            while CAPSL not in keyboard.output.leds_on:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)
        assert keyboard.output.events - orders <= 3


async def test_only_what_changes_is_drawn(tmp_path: Path) -> None:
    """A character is the cell that it is in, and the one that the cursor goes to."""
    async with at_screen(tmp_path, "keyboard") as rig:
        await rig.type("x")
        while f"{PROMPT} x" not in rig.lines:
            pieces = await rig.viewer.update()
            changes = [change for piece in pieces for change in piece.changes]
        y = rig.lines.index(f"{PROMPT} x")
        (change,) = changes
        place = (change.x, change.y, change.width, change.height)
        assert place == ((len(PROMPT) + 1) * WIDTH, y * HEIGHT, 2 * WIDTH, HEIGHT)


async def test_a_pointer_follows_mouse_and_tablet(tmp_path: Path) -> None:
    """The one adds up, the other says where; both stay on the screen."""
    async with at_screen(tmp_path, "mouse", "tablet") as rig:
        x, y = MODE.width // 2, MODE.height // 2
        await rig.until_pointer(x, y)
        for dx, dy in ((30, -20), (-7, 5)):
            x, y = x + dx, y + dy
            await rig.move_by(dx, dy)
            await rig.until_pointer(x, y)
        await rig.move_by(-5000, 5000)
        await rig.until_pointer(0, MODE.height - 1)
        await rig.move_to(1.0, 0.0)
        await rig.until_pointer(MODE.width - 1, 0)
        await rig.move_to(0.25, 0.5)
        await rig.until_pointer(round(0.25 * (MODE.width - 1)), round(0.5 * (MODE.height - 1)))


async def test_another_mode_is_laid_out_anew(tmp_path: Path) -> None:
    """The last rows stay; a pointer that would be outside is at the edge."""
    async with at_screen(tmp_path, "keyboard", "tablet") as rig:
        await rig.type("abc")
        await rig.move_to(1.0, 1.0)
        await rig.until_pointer(MODE.width - 1, MODE.height - 1)
        for width, height in ((800, 608), (320, 200), (640, 480)):
            await rig.set_mode(width, height)
            await rig.until_size(width, height)
            await rig.until_last(f"{PROMPT} abc")
        await rig.until_pointer(319, 199)


async def test_a_screen_of_two_cells(tmp_path: Path) -> None:
    """There is room for a bit of it; Ctrl-L shows the line again on a screen that is larger."""
    async with at_screen(tmp_path, "keyboard") as rig:
        await rig.type("abc")
        await rig.set_mode(16, 16)
        await rig.until(lambda rig: rig.lines == ["vi"])
        await rig.type("d")
        await rig.until(lambda rig: rig.lines == ["vd"])
        await rig.set_mode(640, 400)
        await rig.until_size(640, 400)
        await rig.press("ctrl+l")
        await rig.until_last(f"{PROMPT} abcd")


async def test_a_screen_that_comes_back_shows_everything(tmp_path: Path) -> None:
    """What was typed meanwhile as well."""
    async with machine(tmp_path, "keyboard") as rig, rig.served("keyboard"):
        async with rig.screen():
            await rig.world.ready("gpu")
            rig.view()
            await rig.until_last(PROMPT)
            await rig.type("ab")
            await rig.until_last(f"{PROMPT} ab")
        await rig.type("cd")
        async with rig.screen(mode=Mode(800, 600)):
            await rig.world.ready("gpu")
            rig.view()
            await rig.until(lambda rig: f"{PROMPT} abcd" in rig.lines)
            assert rig.viewer.width == 800


async def test_the_first_screen_has_the_terminal(tmp_path: Path) -> None:
    """The next one gets it when the first is gone."""
    async with machine(tmp_path, gpus=("gpu-a", "gpu-b")) as rig, rig.screen("gpu-b"):
        async with rig.screen("gpu-a"):
            await rig.world.ready("gpu-a", "gpu-b")
            rig.view("gpu-a")
            await rig.until(lambda rig: PROMPT in rig.lines)
            rig.view("gpu-b")
            await rig.viewer.update()
            assert not any(rig.lines)
        await rig.until(lambda rig: PROMPT in rig.lines)


async def test_who_takes_the_screen_has_it(tmp_path: Path) -> None:
    """The terminal draws everything anew behind it."""
    async with at_screen(tmp_path, "keyboard") as rig:
        gpu = rig.driver()
        white = b"\xff" * (MODE.width * MODE.height * 4)
        async with gpu.drawing("a test") as others_drew:
            assert others_drew
            gpu.get_framebuffer()[:] = white
            await gpu.flush()
            await rig.type("ab")
            await rig.until(lambda rig: rig.viewer.pixels == white)
        await rig.until_last(f"{PROMPT} ab")


async def test_a_gpu_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not shown is drawn with the next change."""
    refusals = 0

    async def refuse(_self: VirtIOGpu, *_: int) -> None:
        nonlocal refusals
        refusals += 1
        refused.set()
        raise CommandFailed("out of order")

    async with at_screen(tmp_path, "keyboard") as rig:
        refused = asyncio.Event()
        with monkeypatch.context() as patch:
            patch.setattr(VirtIOGpu, "flush", refuse)
            await rig.type("ab")
            await refused.wait()
        assert refusals < 10
        await rig.type("c")
        await rig.until_last(f"{PROMPT} abc")


async def test_a_gpu_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are taken and commands are obeyed meanwhile, however much they say."""
    hanging, going_on = asyncio.Event(), asyncio.Event()
    real = VirtIOGpu.flush

    async def hang(self: VirtIOGpu, *rect: int) -> None:
        hanging.set()
        await going_on.wait()
        await real(self, *rect)

    async with at_screen(tmp_path, "keyboard") as rig:
        monkeypatch.setattr(VirtIOGpu, "flush", hang)
        await rig.type("x")
        await hanging.wait()
        await rig.press("ctrl+u")
        await rig.type("help\nhelp\nhelp\nuname\n")
        going_on.set()
        await rig.until_last(f"virtmesh {__version__} test", PROMPT)


async def test_much_output_is_not_a_backlog(tmp_path: Path) -> None:
    """Rows that nobody could read are never drawn."""
    async with at_screen(tmp_path, "keyboard") as rig:
        flushes = rig.viewer.flushes
        for number in range(1000):
            rig.world.server.kernel.boot_log.add(f"row {number}")
        await rig.until(lambda rig: rig.lines[-2].endswith("row 999"))
        assert rig.lines[-1] == PROMPT
        assert rig.viewer.flushes - flushes < 100


async def test_a_long_output_is_ended(tmp_path: Path) -> None:
    """By Ctrl-C. Its rows are the pixels that show them, so they never end by themselves soon."""
    async with at_screen(tmp_path, "keyboard") as rig:
        await rig.type(f"hexdump ram:gpu {RAM_ADDRESS:#x} 1M\n")
        await rig.until(lambda rig: any(line.endswith("|") for line in rig.lines))
        await rig.press("ctrl+c")
        await rig.until_last("^C", PROMPT)


async def test_a_machine_without_a_screen_has_no_terminal(tmp_path: Path) -> None:
    """Its keyboards are left alone: Caps Lock lights nothing before there is a screen."""
    async with machine(tmp_path, "keyboard") as rig, rig.served("keyboard"):
        output = rig.inputs["keyboard"].output
        await rig.press("capslock", "a")
        async with rig.screen():
            await rig.world.ready("gpu")
            rig.view()
            await rig.until_last(PROMPT)
            assert not output.leds_on
            await rig.press("b")
            await rig.until_last(f"{PROMPT} b")
