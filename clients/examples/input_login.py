"""Log in at a prompt: wait for a text on the console, type, and wait again.

Usage: python input_login.py [--console FILE] [--layout de] [--user NAME] [--password WORD]

FILE is a log of the console of the system under test. Without it, a small login program in this
script takes the place of the system. It reads the events that the keyboard's driver receives.
"""

# ruff: noqa: INP001, T201 - a script for people

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import virtmesh_client
from virtmesh_client.input.decode import Decoder

if TYPE_CHECKING:
    from virtmesh_client import Machine
    from virtmesh_client.input import EventWatch

POLL_SECONDS = 0.02


class Console:
    """The text of a console, and the position up to which it was read."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._text = ""
        self._seen = 0

    def write(self, text: str) -> None:
        """Add text, if there is no file."""
        self._text += text

    def expect(self, prompt: str, seconds: float = 30.0) -> None:
        """Wait until a text appears on the console. Errors: TimeoutError."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            text = (
                self._path.read_text(encoding="utf-8", errors="replace")
                if self._path
                else self._text
            )
            found = text.find(prompt, self._seen)
            if found >= 0:
                self._seen = found + len(prompt)
                print(f"the console shows {prompt!r}")
                return
            time.sleep(POLL_SECONDS)
        raise TimeoutError(
            f"the console did not show {prompt!r} within {seconds:g} s: {text[self._seen :]!r}"
        )


def guest(console: Console, watch: EventWatch, layout: str) -> None:
    """Act as a login program at the driver's end of the keyboard."""
    decoder = Decoder(layout)

    def read_line() -> str:
        for received in watch:
            decoder.take(received.event)
            if decoder.text.endswith("\r"):
                break
        line, decoder.text = decoder.text, ""
        return line.rstrip("\r")

    console.write("login: ")
    user = read_line()
    console.write(f"{user}\nPassword: ")
    password = read_line()
    console.write("\nLogin incorrect\n" if not password else f"\nWelcome {user}!\n{user}$ ")


def log_in(machine: Machine, console: Console, arguments: argparse.Namespace) -> None:
    """Type name and password at their prompts."""
    with machine.input("keyboard") as keyboard:
        for prompt, answer in (("login: ", arguments.user), ("Password: ", arguments.password)):
            console.expect(prompt)
            injected = keyboard.type(f"{answer}\n", layout=arguments.layout, wait="delivered")
            print(f"typed {len(answer)} characters: {injected.packets} packets {injected.outcome}")
        console.expect(f"{arguments.user}$ ")


def main() -> None:
    """Log in."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--console", type=Path, help="log file of the console")
    parser.add_argument("--layout", default="de")
    parser.add_argument("--user", default="jürgen")
    parser.add_argument("--password", default="Ge#eim_{42}€")
    arguments = parser.parse_args()
    console = Console(arguments.console)
    with virtmesh_client.connect() as machine:
        if arguments.console is not None:
            log_in(machine, console, arguments)
            return
        with machine.input("keyboard").watch() as watch:
            player = threading.Thread(target=guest, args=(console, watch, arguments.layout))
            player.start()
            try:
                log_in(machine, console, arguments)
            finally:
                watch.close()
                player.join()
    print("logged in")


if __name__ == "__main__":
    main()
