"""Keyboard layouts and compose tables of this system, by libxkbcommon; errors with the mend."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from virtmesh_common.input.errors import TypingUnavailable, UntypableText
from virtmesh_common.input.text import xkb

RULES, MODEL = "evdev", "pc105"
KNOWN_LAYOUT = "us"
"""A layout that every version of xkb-data has."""
LOCALE = "en_US.UTF-8"
"""The locale whose compose table is used unless another is named; most locales share it."""
LOCALE_FOLDERS = ("/usr/share/X11/locale", "/usr/local/share/X11/locale")
WORDS_OF_A_ROW = 2
"""A row of compose.dir: a file and a locale."""
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


def not_installed(why: str) -> TypingUnavailable:
    """Make the error that says what to install."""
    return TypingUnavailable(
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


def compose_table(locale: str = LOCALE) -> xkb.ComposeTable | None:
    """Load the compose table of a locale; None where the system has none for LOCALE.

    By path: by locale, libxkbcommon would prefer the table in a user's home, which says nothing
    about the system that is typed to. Errors: UntypableText without xkb, for an unknown locale, or
    for a broken table.
    """
    path = find_compose_file(locale)
    if path is None and locale != LOCALE:
        raise UntypableText(
            f"X11 has no compose table of the locale {locale!r:.80}: write en_US.UTF-8,"
            " el_GR.UTF-8, ... (/usr/share/X11/locale/compose.dir, of libx11-data, lists them)"
        )
    return load_table(path, locale) if path is not None else None


@functools.lru_cache(maxsize=16)
def load_table(path: Path, locale: str) -> xkb.ComposeTable:
    """Load a compose table. Errors: UntypableText."""
    try:
        return xkb.ComposeTable(context(), path.read_bytes(), locale)
    except xkb.XkbError:
        raise UntypableText(
            f"{path} is no compose table, so dead keys can't be typed:"
            " apt-get install --reinstall libx11-data"
        ) from None


def find_compose_file(locale: str) -> Path | None:
    """Return the compose table that X11's list names for a locale; None when there is none."""
    folders = (os.environ.get("XLOCALEDIR", ""), *LOCALE_FOLDERS)
    for folder in map(Path, filter(None, folders)):
        named = compose_files(folder).get(locale)
        if named is None and locale == LOCALE:
            named = f"{LOCALE}/Compose"
        if named is not None and (folder / named).is_file():
            return folder / named
    return None


@functools.cache
def compose_files(folder: Path) -> dict[str, str]:
    """Read compose.dir: the file of each locale of Unicode, as a path in the folder."""
    try:
        text = (folder / "compose.dir").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    pairs = (row for row in rows if len(row) == WORDS_OF_A_ROW)
    return {locale: file.rstrip(":") for file, locale in pairs if locale.endswith("UTF-8")}
