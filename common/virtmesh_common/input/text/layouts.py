"""Keyboard layouts and compose tables of this system, by libxkbcommon; errors with the mend."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from virtmesh_common.input.errors import UntypableText
from virtmesh_common.input.text import xkb

RULES, MODEL = "evdev", "pc105"
KNOWN_LAYOUT = "us"
"""A layout that every version of xkb-data has."""
LOCALE = "en_US.UTF-8"
LOCALE_FOLDERS = ("/usr/share/X11/locale", "/usr/local/share/X11/locale")
NEEDED = "apt-get install libxkbcommon0 xkb-data libx11-data (libx11-data has the dead keys)"


@functools.cache
def context() -> xkb.Context:
    """Return the context that all keymaps and tables share.

    Errors: UntypableText when the library or its layouts are missing.
    """
    try:
        return xkb.Context()
    except (OSError, xkb.XkbError) as error:
        raise not_installed(str(error)) from None


def not_installed(why: str) -> UntypableText:
    """Make the error that says what to install."""
    return UntypableText(
        f"typing text needs libxkbcommon and its keyboard layouts, which are not here ({why}):"
        f" {NEEDED}; `virtmesh input key` and raw events need neither"
    )


@functools.lru_cache(maxsize=16)
def new_keymap(layout: str, variant: str) -> xkb.Keymap:
    """Compile a keymap. Errors: UntypableText."""
    keymap = compile_keymap(layout, variant)
    if keymap is not None:
        return keymap
    if compile_keymap(KNOWN_LAYOUT, "") is None:
        raise not_installed(f"the layout {KNOWN_LAYOUT!r} can't be compiled")
    name = f"{layout}({variant})" if variant else layout
    raise UntypableText(
        f"xkb knows no layout {name!r}: write us, de, fr, ..."
        " (/usr/share/X11/xkb/rules/evdev.lst lists layouts and variants)",
        layout=name,
    )


def compile_keymap(layout: str, variant: str) -> xkb.Keymap | None:
    """Compile a keymap; None when xkb has no such layout. Errors: UntypableText without xkb."""
    # An empty layout would be the default one, which nobody asked for. A comma would make several
    # layouts of it, with keys to switch between them. A NUL would end the name early.
    words = layout + variant
    if not layout or "," in words or "\0" in words or not words.isascii():
        return None
    try:
        return xkb.Keymap(context(), RULES, MODEL, layout, variant)
    except xkb.XkbError:
        return None


@functools.cache
def compose_table() -> xkb.ComposeTable | None:
    """Load the compose table of the system; None where there is none.

    By path: by locale, libxkbcommon would prefer the table in a user's home, which says nothing
    about the system that is typed to. Errors: UntypableText without xkb, or for a broken table.
    """
    folders = (os.environ.get("XLOCALEDIR", ""), *LOCALE_FOLDERS)
    for folder in filter(None, folders):
        path = Path(folder) / LOCALE / "Compose"
        if path.is_file():
            try:
                return xkb.ComposeTable(context(), path.read_bytes(), LOCALE)
            except xkb.XkbError:
                raise UntypableText(
                    f"{path} is no compose table, so dead keys can't be typed:"
                    " apt-get install --reinstall libx11-data"
                ) from None
    return None
