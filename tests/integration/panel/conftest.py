"""A machine of processes, its panel, and a browser."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    TimeoutError,  # noqa: A004 - that of waits for a page
    expect,
    sync_playwright,
)

from tests.support.cli import Cli, own_folder

CHROMIUM = "/usr/bin/chromium"
TOKEN = "a-token-for-the-tests-of-the-panel"  # noqa: S105 - of these tests
WAIT_MS = 30_000
"""Limit for every wait."""
LOADS = 3
"""How often a page is loaded, if the network changes meanwhile."""

expect.set_options(timeout=WAIT_MS)


@dataclass
class PanelRig:
    """A machine and the address of its panel."""

    cli: Cli
    address: str
    """Without the token."""
    token: str

    @property
    def url(self) -> str:
        """The address with the token."""
        return f"{self.address}#token={self.token}"


@contextlib.contextmanager
def serving_panel(
    cli: Cli, port: int = 0, *, token: str = TOKEN, options: tuple[object, ...] = ()
) -> Iterator[PanelRig]:
    """Start a panel."""
    words = ("--listen", f"127.0.0.1:{port}", "--token", token, *options)
    with cli.spawn("panel", *words) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        match = re.search(r"(https?://127\.0\.0\.1:\d+/)#token=", line)
        assert match, line
        yield PanelRig(cli, match[1], token)


@pytest.fixture(scope="module")
def machine() -> Iterator[Cli]:
    """Start a machine with a device of each kind."""
    with own_folder() as cli:
        disk = ("--disk", "disk.img,size=16M")
        inputs = ("--input", "keyboard", "--input", "tablet")
        cli.up(*disk, *inputs, "--device", "gpu,mode=640x480")
        yield cli


@pytest.fixture(scope="module")
def panel(machine: Cli) -> Iterator[PanelRig]:
    """Start its panel."""
    with serving_panel(machine) as rig:
        yield rig


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page, and what went wrong on it."""

    page: Page
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def heard(self, message: ConsoleMessage) -> None:
        """Note what the console says is an error."""
        if message.type in {"error", "warning"}:
            self.faults.append(message.text)

    def asked(self, request: Request) -> None:
        """Note a request."""
        self.requests.append(request.url)


@contextlib.contextmanager
def visiting(browser: Browser, url: str, scheme: str = "light") -> Iterator[Visit]:
    """Open a page in a browser of its own."""
    context = browser.new_context(
        viewport={"width": 1400, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        ignore_https_errors=True,  # the authority of a test is nobody's
    )
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    visit = Visit(page)
    page.on("console", visit.heard)
    page.on("pageerror", lambda error: visit.faults.append(str(error)))
    page.on("request", visit.asked)
    page.goto(url)
    begin(visit)
    try:
        yield visit
    finally:
        context.close()


def begin(visit: Visit) -> None:
    """Wait until the program of the page runs.

    Chromium gives up what it loads when a network interface comes or goes, also what it loads from
    the loopback (ERR_NETWORK_CHANGED): other tests of this host start and stop containers.
    """
    for _ in range(LOADS):
        try:
            visit.page.locator("#news li").first.wait_for(timeout=WAIT_MS / LOADS)
        except TimeoutError:
            assert any("ERR_NETWORK_CHANGED" in fault for fault in visit.faults), visit.faults
            visit.faults.clear()
            visit.page.reload()
        else:
            return
    raise AssertionError("the page does not begin")
