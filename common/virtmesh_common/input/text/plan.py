"""A text as the packets of its keystrokes, for one keyboard: what clients and devices type by."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from virtmesh_common.input.errors import UntypableText
from virtmesh_common.input.keys import press, release
from virtmesh_common.input.text.decode import Decoder
from virtmesh_common.input.text.keyboard import CAPS_LED
from virtmesh_common.input.text.layout import Layout
from virtmesh_common.input.text.layouts import LOCALE

if TYPE_CHECKING:
    from virtmesh_common.input.events import Packet
    from virtmesh_common.input.text.keyboard import Keyboard

CapsLock = Literal["lit", "off", "assume-on", "assume-off"]
"""What is typed where Caps Lock is on: as its light says; or with Caps Lock turned off for the
text, and on again behind it; or as if it were on, or off, whatever its light says."""
CAPS_LOCK_CHOICES: tuple[CapsLock, ...] = ("lit", "off", "assume-on", "assume-off")


@dataclass(frozen=True)
class TextOptions:
    """How a text is typed: the layout and the locale of the system that is typed to."""

    layout: str = "us"
    variant: str = ""
    locale: str = LOCALE
    caps_lock: CapsLock = "lit"


def plan_text(text: str, keyboard: Keyboard, options: TextOptions) -> list[list[Packet]]:
    """Return the packets of each keystroke of a text, judged as a whole.

    It takes up to a few seconds of processor time for a layout with hundreds of compositions.
    Errors: UntypableText, which names every character that can't be typed.
    """
    if options.caps_lock.startswith("assume"):
        keyboard = keyboard.with_caps_lock(options.caps_lock == "assume-on")
    if options.caps_lock != "off" or CAPS_LED not in keyboard.leds:
        return open_layout(keyboard, options).type(text)
    unlocked = keyboard.with_caps_lock(on=False)
    tap = caps_lock_tap(keyboard, unlocked, options)
    return [tap, *open_layout(unlocked, options).type(text), tap]


def caps_lock_tap(locked: Keyboard, unlocked: Keyboard, options: TextOptions) -> list[Packet]:
    """Return the stroke that turns Caps Lock off, and on again. Errors: UntypableText."""
    target = new_judge(unlocked, options).effective
    for key in locked.free_keys:
        stroke = [press(key), release(key)]
        judge = new_judge(locked, options)
        before = judge.effective
        judge.read(event for packet in stroke for event in packet)
        if judge.effective != target or judge.text:
            continue
        judge.read(event for packet in stroke for event in packet)
        if judge.effective == before:
            return stroke
    raise UntypableText(
        f"Caps Lock is on, and no key of the layout {options.layout} turns it off alone: turn it"
        " off by hand",
        layout=options.layout,
    )


def new_judge(keyboard: Keyboard, options: TextOptions) -> Decoder:
    """Return a keyboard in memory that says what appears. Errors: UntypableText."""
    return Decoder(options.layout, options.variant, keyboard=keyboard, locale=options.locale)


@functools.lru_cache(maxsize=16)
def open_layout(keyboard: Keyboard, options: TextOptions) -> Layout:
    """Return a layout; it is kept, for the next text. Errors: UntypableText."""
    return Layout(options.layout, options.variant, keyboard=keyboard, locale=options.locale)
