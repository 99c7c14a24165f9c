"""`virtmesh input live`: this terminal is the machine's keyboard. It needs Unix."""

from __future__ import annotations

import os
import select
import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from virtmesh_client.cli.input.common import InjectOptions, has_layout, injector
from virtmesh_client.cli.settings import Settings, common, complete_device
from virtmesh_client.input.text import text_script
from virtmesh_common.input.errors import TypingUnavailable, UnknownKey, UntypableText
from virtmesh_common.input.events import join_packets
from virtmesh_common.input.keys import press_chord, release_chord
from virtmesh_common.input.names import parse_chord
from virtmesh_common.input.terminal_keys import TerminalKeys, Typed
from virtmesh_common.input.text.plan import TextOptions, plan_text
from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from virtmesh_client.input import Injected, Input
    from virtmesh_common.input.events import Packet

LEAVE = b"\x1d"
"""Ctrl-]"""
READ_BYTES = 4096
"""Most bytes that are taken at once; the terminal keeps the rest."""
ESCAPE_SECONDS = 0.05
"""How long an ESC waits for the rest of a sequence, before it is the key Escape."""
DEVICE_SECONDS = 5.0
"""How long the device may take nothing: Ctrl-] has to work."""
SHOWN = 10
"""Most different things that the end tells of."""
PASTE_ON, PASTE_OFF, BELL = b"\x1b[?2004h", b"\x1b[?2004l", b"\a"


@click.command()
@click.argument("device", required=False, shell_complete=complete_device)
@click.option("-l", "--layout", default="us", show_default=True, help="Layout: us, de, fr, ...")
@click.option("--variant", default="", help="Variant of the layout, such as nodeadkeys.")
@common
@click.pass_obj
def live(settings: Settings, device: str | None, layout: str, variant: str) -> None:
    """Make this terminal the keyboard of the machine; Ctrl-] leaves.

    What a terminal sends becomes key presses by the layout of the machine: text, control
    characters, arrows, function keys, Alt, and what is pasted. A bell says that something can't be
    typed; the end says what.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(
            "standard input is no terminal: use `virtmesh input type -` for text, or"
            " `virtmesh input -` for commands"
        )
    from virtmesh_client.serial.raw_terminal import raw_terminal  # noqa: PLC0415 - it needs Unix

    how = InjectOptions(device, "accepted", "wait", DEVICE_SECONDS)
    screen = sys.stderr.fileno()
    with injector(settings, how, has_layout, "keyboard") as keyboard:
        typist = Typist(keyboard, layout, variant)
        typist.prepare()
        with raw_terminal(sys.stdin.fileno()):
            tell(settings, f"{keyboard.name}: Ctrl-] leaves")
            try:
                os.write(screen, PASTE_ON)
                type_until_left(sys.stdin.fileno(), screen, typist)
            finally:
                os.write(screen, PASTE_OFF)
        for line in typist.report():
            tell(settings, line, "\n")


def tell(settings: Settings, line: str, end: str = "\r\n") -> None:
    """Tell the user something; a raw terminal needs the carriage return."""
    if not settings.quiet:
        sys.stderr.write(f"[{printable(line)}]{end}")
        sys.stderr.flush()


def type_until_left(source: int, screen: int, typist: Typist) -> None:
    """Type what the terminal sends until Ctrl-], or until the terminal is gone."""
    keys = TerminalKeys()
    while True:
        wait = ESCAPE_SECONDS if keys.is_pending else None
        if not select.select([source], [], [], wait)[0]:
            typed, left = keys.flush(), False
        else:
            try:
                data = os.read(source, READ_BYTES)
            except OSError:  # the terminal is gone
                return
            data, leave, _ = data.partition(LEAVE)
            typed, left = keys.feed(data), bool(leave) or not (data or leave)
        for one in typed:
            if not typist.type(one):
                os.write(screen, BELL)
        if left:
            return


class Typist:
    """Types pieces of input at a keyboard, and keeps account of what can't be typed."""

    def __init__(self, keyboard: Input, layout: str, variant: str) -> None:
        self._keyboard = keyboard
        self._options = TextOptions(layout, variant)
        self._failed: Counter[str] = Counter()

    def prepare(self) -> None:
        """Find the layout before the first key. Errors: UntypableText; BadEvent."""
        text_script(self._keyboard.info(), "a", self._options, delay=0.0)

    def type(self, one: Typed) -> bool:
        """Type a piece; returns whether all of it could be. Errors: those of the connection."""
        if one.text:
            return self._type_text(one.text)
        if one.chord:
            return self._press(one.chord)
        self._failed[repr(one.unknown)] += 1
        return False

    def report(self) -> list[str]:
        """Return lines about what could not be typed."""
        lines = [
            f"not typed: {what}" + (f", {count} times" if count > 1 else "")
            for what, count in self._failed.most_common(SHOWN)
        ]
        more = len(self._failed) - SHOWN
        return [*lines, f"and {more} others"] if more > 0 else lines

    def _type_text(self, text: str) -> bool:
        """Type text; where some of it can't be typed, type the rest."""
        try:
            return self._settle(text, self._keyboard.type(text, layout=self._options))
        except TypingUnavailable:
            raise
        except UntypableText:
            if len(text) == 1:
                self._failed[repr(text)] += 1
                return False
        done = [self._type_text(char) for char in text]
        return all(done)

    def _press(self, chord: str) -> bool:
        """Press a chord. A letter is the key that the layout has it on."""
        *modifiers, key = split_chord(chord)
        try:
            if len(key) > 1:
                return self._settle(chord, self._keyboard.key(chord))
            held = parse_chord("+".join(modifiers))
            packets = [*press_chord(held), *self._strokes(key), *release_chord(held)]
        except (UnknownKey, UntypableText):
            self._failed[chord] += 1
            return False
        return self._settle(chord, self._keyboard.inject(join_packets(packets)))

    def _strokes(self, char: str) -> list[Packet]:
        """Return the packets that type a character. Errors: UntypableText."""
        groups = plan_text(char, self._keyboard.info().keyboard, self._options)
        return [packet for group in groups for packet in group]

    def _settle(self, what: str, injected: Injected) -> bool:
        """Note what the device refused or lost."""
        gone = injected.refused + injected.lost
        if gone:
            self._failed[f"{what!r}: the device is not ready"] += 1
        return not gone


def split_chord(chord: str) -> list[str]:
    """Split a chord at each +, but not at the character + at its end."""
    if chord.endswith("++"):
        return [*chord[:-2].split("+"), "+"]
    return chord.split("+")
