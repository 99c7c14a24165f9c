"""The panel in a real browser: people look at a machine of processes, and use it."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import signal
from itertools import islice

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.integration.panel.conftest import TOKEN, PanelRig, serving_panel, visiting
from tests.support.cli import eventually, own_folder
from virtmesh.testing.screen_text import read_screen
from virtmesh_client import connect
from virtmesh_client.input.watch import EventWatch

SCREEN = "640 \N{MULTIPLICATION SIGN} 480"

pytestmark = pytest.mark.processes


def choose(page: Page, device: str) -> None:
    """Choose a device on the map."""
    page.locator(".stop", has_text=device).click()
    expect(page.locator("#device-name")).to_have_text(device)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_machine_is_shown(panel: PanelRig, chromium: Browser, scheme: str) -> None:
    """Every device is on the map, and ready. Nothing is loaded from elsewhere, nothing fails."""
    with visiting(chromium, panel.url, scheme) as visit:
        page = visit.page
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator('.stop[data-state="ready"]')).to_have_count(5)
        expect(page.locator("#kernel-detail")).to_have_text("5 of 5 devices ready")
        expect(page.locator("#screen-size")).to_have_text(SCREEN)
        expect(page.locator(".xterm-rows")).to_contain_text("virtmesh>")
        for tab in ("Dialogue", "Registers", "Input", "Overview"):
            page.get_by_role("tab", name=tab).click()
        expect(page.locator(".uplot")).to_have_count(2)
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")

        assert visit.faults == []
        assert [url for url in visit.requests if not url.startswith(panel.address)] == []
        assert TOKEN not in page.url
        assert (sum(map(int, re.findall(r"\d+", dark))) < 300) == (scheme == "dark")


def test_the_theme_is_a_matter_of_taste(panel: PanelRig, chromium: Browser) -> None:
    """The switch wins over the system, and is remembered."""
    with visiting(chromium, panel.url) as visit:
        visit.page.locator("#theme").click()
        expect(visit.page.locator("html")).to_have_attribute("data-theme", "dark")
        visit.page.reload()
        expect(visit.page.locator("html")).to_have_attribute("data-theme", "dark")
        expect(visit.page.locator("#link")).to_have_text("live")


def test_keys_and_pointer_reach_the_machine(panel: PanelRig, chromium: Browser) -> None:
    """What is typed into the screen arrives at the driver, and so does a click on it."""
    with (
        connect(panel.cli.state.address) as machine,
        machine.input("keyboard").watch(seconds=60) as keys,
        machine.input("tablet").watch(seconds=60) as moves,
        visiting(chromium, panel.url) as visit,
    ):
        page = visit.page
        expect(page.locator("#screen-size")).to_have_text(SCREEN)
        page.locator("#capture").click()
        expect(page.locator("#capture")).to_have_text("Ctrl + Alt + Esc leaves")
        page.keyboard.press("k")
        assert [str(next(keys).event) for _ in range(4)][::2] == ["KEY_K 1", "KEY_K 0"]

        page.locator("#screen canvas").click()
        seen = {next(moves).event.code_name for _ in range(3)}
        assert "ABS_X" in seen

        page.keyboard.press("Control+Alt+Escape")
        expect(page.locator("#capture")).to_be_focused()
        assert names_of(keys, 4) == [
            "KEY_LEFTALT 0",
            "KEY_LEFTALT 1",
            "KEY_LEFTCTRL 0",
            "KEY_LEFTCTRL 1",
        ]


def names_of(keys: EventWatch, count: int) -> list[str]:
    """Return the next events of keys, sorted."""
    events = (str(one.event) for one in keys)
    return sorted(islice((one for one in events if one.startswith("KEY_")), count))


def test_a_key_is_released_when_the_pointer_leaves(panel: PanelRig, chromium: Browser) -> None:
    """A click elsewhere takes the focus: the release of the key would never arrive."""
    with (
        connect(panel.cli.state.address) as machine,
        machine.input("keyboard").watch(seconds=60) as keys,
        visiting(chromium, panel.url) as visit,
    ):
        page = visit.page
        expect(page.locator("#screen-size")).to_have_text(SCREEN)
        page.locator("#capture").click()
        page.keyboard.down("Shift")
        assert names_of(keys, 1) == ["KEY_LEFTSHIFT 1"]
        page.locator("#terminal").click()
        assert names_of(keys, 1) == ["KEY_LEFTSHIFT 0"]


def test_what_is_typed_is_on_the_screen(panel: PanelRig, chromium: Browser) -> None:
    """The kernel service echoes it there; the browser shows the same picture, pixel by pixel."""
    with connect(panel.cli.state.address) as machine, visiting(chromium, panel.url) as visit:
        page, screen = visit.page, machine.screen("gpu")
        expect(page.locator("#screen-size")).to_have_text(SCREEN)
        page.locator("#capture").click()
        page.keyboard.type("typed-in-a-browser\n")

        def lines() -> list[str]:
            pixels = screen.pixels()
            return list(read_screen(pixels.width, pixels.height, pixels.data))

        eventually(lambda: any("typed-in-a-browser" in line for line in lines()))
        eventually(lambda: shown_by(page) == rgb_of(screen.shot()))


def shown_by(page: Page) -> bytes:
    """Return the pixels that a page shows of the screen."""
    url = page.evaluate("document.querySelector('#screen canvas').toDataURL('image/png')")
    return rgb_of(base64.b64decode(url.partition(",")[2]))


def rgb_of(png: bytes) -> bytes:
    """Return the pixels of a picture."""
    return Image.open(io.BytesIO(png)).convert("RGB").tobytes()


def test_the_console_is_a_terminal(panel: PanelRig, chromium: Browser) -> None:
    """A command that is typed there is answered there."""
    with visiting(chromium, panel.url) as visit:
        page = visit.page
        expect(page.locator(".xterm-rows")).to_contain_text("virtmesh>")
        page.locator("#terminal").click()
        page.keyboard.type("seen-in-a-browser\n")
        expect(page.locator(".xterm-rows")).to_contain_text("seen-in-a-browser: no such command")
        assert visit.faults == []


def test_what_became_of_an_event(panel: PanelRig, chromium: Browser) -> None:
    """Text that is typed in the form is delivered; each event has its buffer and its time."""
    with visiting(chromium, panel.url) as visit:
        page = visit.page
        page.get_by_role("tab", name="Input").click()
        page.locator("#type-text").fill("z")
        page.get_by_role("button", name="Type", exact=True).click()

        expect(page.locator("#receipt")).to_have_text("2 packets, 2 events: delivered")
        row = page.locator(".input", has_text="KEY_Z 1").first
        expect(row).to_contain_text("keyboard")
        expect(row).to_contain_text(re.compile(r"buffer #\d+ .*taken \+"))


def test_a_keyboard_is_what_has_letters(chromium: Browser) -> None:
    """Whatever the names of the devices are."""
    with own_folder() as cli:
        pointer = ("--device", "input,name=monkey,personality=tablet")
        cli.up(*pointer, "--device", "input,name=letters,personality=keyboard")
        with serving_panel(cli) as own, visiting(chromium, own.url) as visit:
            page = visit.page
            page.get_by_role("tab", name="Input").click()
            expect(page.locator("#type-device")).to_have_text("letters")
            page.locator("#type-text").fill("z")
            page.get_by_role("button", name="Type", exact=True).click()
            expect(page.locator("#receipt")).to_have_text("2 packets, 2 events: delivered")


def test_the_dialogue_goes_on_and_pauses(panel: PanelRig, chromium: Browser) -> None:
    """A read of the disk is shown from both sides; nothing comes while it is paused."""
    with connect(panel.cli.state.address) as machine, visiting(chromium, panel.url) as visit:
        page = visit.page
        page.get_by_role("tab", name="Dialogue").click()
        choose(page, "vda")
        machine.disk("vda").read(0, 512)
        said = page.locator("#dialogue")
        expect(said).to_contain_text("IN sector 0, 512 bytes")
        expect(said).to_contain_text("pop_used")

        page.get_by_role("button", name="Pause").click()
        count = page.locator(".say").count()
        machine.disk("vda").read(512, 512)
        page.get_by_role("tab", name="Overview").click()
        page.get_by_role("tab", name="Dialogue").click()
        assert page.locator(".say").count() == count
        page.get_by_role("button", name="Go on").click()
        expect(said).to_contain_text("IN sector 1, 512 bytes")


def test_a_device_is_reset_and_comes_back(panel: PanelRig, chromium: Browser) -> None:
    """After it was confirmed: the registers show what the driver wrote then."""
    with connect(panel.cli.state.address) as machine, visiting(chromium, panel.url) as visit:
        page = visit.page
        attaches = machine.disk("vda").stats().device.attaches
        choose(page, "vda")
        page.get_by_role("tab", name="Registers").click()

        page.locator("#reset").click()
        page.get_by_role("button", name="Cancel").click()
        assert machine.disk("vda").stats().device.attaches == attaches
        page.locator("#reset").click()
        page.locator("#confirm-yes").click()

        eventually(lambda: machine.disk("vda").stats().device.attaches == attaches + 1)
        expect(page.locator("#device-state")).to_have_text("ready")
        status = page.locator(".reg", has_text="Status").filter(has_text="0x070").first
        expect(status.locator('.names [data-set="1"]')).to_have_count(4)


def test_a_device_is_restarted(panel: PanelRig, chromium: Browser) -> None:
    """After it was confirmed: another process serves it, and the kernel drives it again."""
    with visiting(chromium, panel.url) as visit:
        page = visit.page
        before = panel.cli.process("vda").pid
        choose(page, "vda")
        page.locator("#restart").click()
        page.get_by_role("button", name="Cancel").click()
        assert panel.cli.process("vda").pid == before
        page.locator("#restart").click()
        page.locator("#confirm-yes").click()

        eventually(lambda: panel.cli.process("vda").pid != before)
        expect(page.locator("#device-state")).to_have_text("ready")
        expect(page.locator("#device-why")).to_be_hidden()


def test_a_device_is_detached_and_attached(panel: PanelRig, chromium: Browser) -> None:
    """The page says so, and the button turns."""
    with visiting(chromium, panel.url) as visit:
        page = visit.page
        choose(page, "vda")
        page.locator("#detach").click()
        page.locator("#confirm-yes").click()
        expect(page.locator("#device-state")).to_have_text("detached")
        expect(page.locator("#news")).to_contain_text("vda detached")

        page.get_by_role("button", name="Attach").click()
        expect(page.locator("#device-state")).to_have_text("ready")


def test_a_screen_that_dies_comes_back(panel: PanelRig, chromium: Browser) -> None:
    """The page connects again by itself. The device may be back before anybody looks."""
    with visiting(chromium, panel.url) as visit:
        page = visit.page
        expect(page.locator("#screen-size")).to_have_text(SCREEN)
        expect(page.locator("#device-name")).to_have_text("gpu")
        pid = panel.cli.process("gpu").pid
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: panel.cli.process("gpu").pid != pid)
        expect(page.locator("#device-state")).to_have_text("ready")
        expect(page.locator("#screen-size")).to_have_text(SCREEN)
        expect(page.locator("#screen-empty")).to_be_hidden()


def test_a_machine_that_is_gone_is_waited_for(panel: PanelRig, chromium: Browser) -> None:
    """Its kernel service hangs: the page says so. Killed, there is a next one: it goes on."""
    with visiting(chromium, panel.url) as visit:
        page = visit.page
        expect(page.locator("#link")).to_have_text("live")
        kernel = panel.cli.process("kernel").pid
        os.kill(kernel, signal.SIGSTOP)  # one that dies may be back before anybody looks
        expect(page.locator("#link")).to_have_text("machine gone")
        expect(page.locator("#notice")).to_contain_text("The kernel service does not answer")
        expect(page.locator('.stop[data-state="lost"]')).to_have_count(5)
        os.kill(kernel, signal.SIGKILL)
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator('.stop[data-state="ready"]')).to_have_count(5)
        expect(page.locator("#screen-size")).to_have_text(SCREEN)


def test_two_people_use_the_screen(panel: PanelRig, chromium: Browser) -> None:
    """What both type arrives; when they have left, nobody watches the screen any more."""
    with connect(panel.cli.state.address) as machine:
        with (
            machine.input("keyboard").watch(seconds=60) as keys,
            visiting(chromium, panel.url) as one,
            visiting(chromium, panel.url) as other,
        ):
            for visit in (one, other):
                expect(visit.page.locator("#screen-size")).to_have_text(SCREEN)
                visit.page.locator("#capture").click()
            for letter in "xyx":
                (one if letter == "x" else other).page.keyboard.press(letter)
            events = [str(next(keys).event) for _ in range(12)]
            assert sorted(event for event in events if event.endswith(" 1")) == [
                "KEY_X 1",
                "KEY_X 1",
                "KEY_Y 1",
            ]
        eventually(lambda: machine.screen("gpu").stats()[0].watchers == 0)


def test_a_page_outlives_its_panel(panel: PanelRig, chromium: Browser) -> None:
    """It says that the panel is gone, waits, and goes on with the next one."""
    with serving_panel(panel.cli) as first:
        visit_of = visiting(chromium, first.url)
        visit = visit_of.__enter__()
        expect(visit.page.locator("#link")).to_have_text("live")
    try:
        expect(visit.page.locator("#link")).to_have_text("reconnecting")
        expect(visit.page.locator("#notice")).to_contain_text("The panel does not answer")
        port = int(first.address.rstrip("/").rpartition(":")[2])
        with serving_panel(panel.cli, port):
            expect(visit.page.locator("#link")).to_have_text("live")
            expect(visit.page.locator("#notice")).to_be_hidden()
    finally:
        visit_of.__exit__(None, None, None)


def test_a_panel_is_locked(panel: PanelRig, chromium: Browser) -> None:
    """Without the token the page asks for it; a wrong one does not open it."""
    with visiting(chromium, panel.address) as visit:
        page = visit.page
        expect(page.get_by_role("heading", name="This panel is locked")).to_be_visible()
        page.locator("#token").fill("not-the-token-of-this-panel")
        page.keyboard.press("Enter")
        expect(page.locator("#locked-why")).to_have_text("That token does not open this panel.")
        expect(page.get_by_role("heading", name="This panel is locked")).to_be_visible()
        page.locator("#token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#link")).to_have_text("live")
        assert page.locator(".stop").count() == 5


def test_a_page_goes_on_with_another_token(panel: PanelRig, chromium: Browser) -> None:
    """The panel comes back with new tokens: one is typed, of another the address is pasted."""
    with contextlib.ExitStack() as stack:
        with serving_panel(panel.cli) as first:
            page = stack.enter_context(visiting(chromium, first.url)).page
            expect(page.locator("#console-state")).to_have_text("connected")
            expect(page.locator("#screen-size")).to_have_text(SCREEN)
        port = int(first.address.rstrip("/").rpartition(":")[2])
        locked = page.get_by_role("heading", name="This panel is locked")
        with serving_panel(panel.cli, port, token="another-token-that-is-typed"):  # noqa: S106
            expect(locked).to_be_visible()
            page.locator("#token").fill("another-token-that-is-typed")
            page.keyboard.press("Enter")
            goes_on(page)
        with serving_panel(panel.cli, port, token="another-token-that-is-pasted"):  # noqa: S106
            expect(locked).to_be_visible()
            page.goto(f"{first.address}#token=another-token-that-is-pasted")
            expect(locked).to_be_hidden()
            goes_on(page)
            assert "token" not in page.url


def goes_on(page: Page) -> None:
    """Wait until every part of a page is connected."""
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#console-state")).to_have_text("connected")
    expect(page.locator("#screen-size")).to_have_text(SCREEN)
