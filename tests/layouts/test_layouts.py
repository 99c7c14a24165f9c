"""Every character that a layout can make is typed, and read by a keyboard of another house.

A few dozen layouts by default; with VIRTMESH_LAYOUTS=all every layout and variant of xkb-data
(`make test-layouts`, some minutes).
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from virtmesh.input.personality import load
from virtmesh_common.evdev import TYPES
from virtmesh_common.input.text.keyboard import CAPS_LED, Keyboard
from virtmesh_common.input.text.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

RULES = Path("/usr/share/X11/xkb/rules")
KEYS = frozenset(load("keyboard").codes[TYPES["EV_KEY"]])
SHORT = (
    "us", "us(intl)", "us(dvorak)", "us(colemak)", "us(altgr-intl)", "gb", "gb(extd)", "de",
    "de(T3)", "de(neo)", "at", "ch", "ch(fr)", "fr", "fr(bepo)", "fr(oss)", "be", "es", "es(cat)",
    "latam", "pt", "br", "it", "gr", "gr(polytonic)", "ru", "ua", "pl", "cz", "cz(qwerty)", "sk",
    "hu", "tr", "il", "ara", "ir", "in", "jp", "jp(kana)", "kr", "ca", "ca(multix)", "vn", "se",
    "cm(azerty)", "ie(ogam_is434)",
)  # fmt: skip


def all_layouts() -> Iterable[str]:
    """Yield every layout and variant that xkb-data lists, those of its extra list too."""
    for name in ("evdev.xml", "evdev.extras.xml"):
        # The parser may trust it: a file of xkb-data, which the machine has installed.
        for layout in ET.parse(RULES / name).getroot().iter("layout"):  # noqa: S314
            base = layout.findtext("configItem/name")
            if base == "custom":  # a name for a file that an administrator may write
                continue
            yield base or ""
            for variant in layout.iter("variant"):
                yield f"{base}({variant.findtext('configItem/name')})"


LAYOUTS = dict.fromkeys(all_layouts() if os.environ.get("VIRTMESH_LAYOUTS") == "all" else SHORT)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_character_arrives(
    name: str, ask: Callable[..., dict[str, Any]], record_property: Callable[[str, object], None]
) -> None:
    """In order, and shuffled with Caps Lock on; and whatever is not typed has a known reason."""
    layout, _, variant = name.rstrip(")").partition("(")
    known = ask(layout=layout, variant=variant, list=sorted(KEYS))["texts"]
    record_property("layouts: layouts and variants", 1)

    wrong: list[str] = []
    typed: set[str] = set()
    for locks, leds in (((), ()), (("Lock",), (CAPS_LED,))):
        engine = Layout(layout, variant, keyboard=Keyboard(KEYS, frozenset(leds)))
        texts = sorted(engine.strokes)
        if locks:
            random.Random(name).shuffle(texts)  # noqa: S311 - an order, no secret
        typed |= set(texts)
        for part in parts_of(texts):
            keys = [
                (event.code, event.value)
                for group in engine.type(part)
                for packet in group
                for event in packet
            ]
            answer = ask(layout=layout, variant=variant, locks=locks, keys=keys)
            if answer["text"] != part or not answer["clean"]:
                wrong.append(part)
        record_property("layouts: texts typed", len(texts))
    record_property("layouts: wrong", len(wrong))

    reasons = Counter(reason for text, reason in known.items() if text not in typed)
    record_property("layouts: texts that the keymaps hold", len(known))
    for reason, count in sorted(reasons.items()):
        record_property(f"layouts: not typed: {reason or 'NO REASON'}", count)
    assert wrong == []
    assert [text for text, reason in known.items() if not reason and text not in typed] == []


def parts_of(texts: list[str]) -> Iterable[str]:
    """Yield texts of a hundred characters; one that could join its neighbours stands alone."""
    joined = ""
    for text in texts:
        if len(text) > 1:
            yield text
            continue
        joined += text
        if len(joined) >= 100:
            yield joined
            joined = ""
    if joined:
        yield joined
