"""The functions of libxkbcommon that text needs, bound by ctypes when they are first used.

Nothing is compiled: the library is the one that the system has at run time. An object here owns its
handle, and frees it when the object goes. The library counts references between its own objects, so
the order does not matter. Keys are evdev codes.

Source: https://xkbcommon.org/doc/current/
"""

from __future__ import annotations

import ctypes
import enum
import functools
import weakref
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NAMES = ("libxkbcommon.so.0", "libxkbcommon.0.dylib")
"""File names of the library: Linux and the BSDs, macOS."""
KEYCODE_OFFSET = 8
"""An xkb keycode is the evdev code and this (X11 keeps 0 to 7 to itself)."""
TEXT_BYTES = 64
"""Room for the name of a keysym, or what one key types; more is asked for where it is needed."""
NO_DEFAULT_INCLUDES = 1 << 0
NO_ENVIRONMENT_NAMES = 1 << 1
NO_FLAGS = 0
COMPOSE_FORMAT_TEXT_V1 = 1
SILENT = 0
"""A log level below all of the library's: what goes wrong is raised, not printed."""
INVALID_MODIFIER = 0xFFFF_FFFF
MODS_EFFECTIVE = 1 << 3
LAYOUT_EFFECTIVE = 1 << 7


class XkbError(Exception):
    """A call of libxkbcommon failed; the message names it."""


class ComposeStatus(enum.IntEnum):
    """How far a composition is (enum xkb_compose_status)."""

    NOTHING = 0
    COMPOSING = 1
    COMPOSED = 2
    CANCELLED = 3


class RuleNames(ctypes.Structure):
    """struct xkb_rule_names: which keymap is wanted."""

    _fields_ = [
        ("rules", c_char_p),
        ("model", c_char_p),
        ("layout", c_char_p),
        ("variant", c_char_p),
        ("options", c_char_p),
    ]


SIGNATURES: dict[str, tuple[Any, ...]] = {
    "xkb_context_new": (c_void_p, c_int),
    "xkb_context_unref": (None, c_void_p),
    "xkb_context_set_log_level": (None, c_void_p, c_int),
    "xkb_context_include_path_append_default": (c_int, c_void_p),
    "xkb_keymap_new_from_names": (c_void_p, c_void_p, POINTER(RuleNames), c_int),
    "xkb_keymap_unref": (None, c_void_p),
    "xkb_keymap_mod_get_index": (c_uint32, c_void_p, c_char_p),
    "xkb_state_new": (c_void_p, c_void_p),
    "xkb_state_unref": (None, c_void_p),
    "xkb_state_update_key": (c_int, c_void_p, c_uint32, c_int),
    "xkb_state_update_mask": (c_int, c_void_p, *(c_uint32,) * 6),
    "xkb_state_serialize_mods": (c_uint32, c_void_p, c_int),
    "xkb_state_serialize_layout": (c_uint32, c_void_p, c_int),
    "xkb_state_key_get_one_sym": (c_uint32, c_void_p, c_uint32),
    "xkb_state_key_get_utf8": (c_int, c_void_p, c_uint32, c_char_p, c_size_t),
    "xkb_keysym_get_name": (c_int, c_uint32, c_char_p, c_size_t),
    "xkb_keysym_to_utf32": (c_uint32, c_uint32),
    "xkb_compose_table_new_from_buffer": (
        c_void_p, c_void_p, c_char_p, c_size_t, c_char_p, c_int, c_int,
    ),
    "xkb_compose_table_unref": (None, c_void_p),
    "xkb_compose_state_new": (c_void_p, c_void_p, c_int),
    "xkb_compose_state_unref": (None, c_void_p),
    "xkb_compose_state_reset": (None, c_void_p),
    "xkb_compose_state_feed": (c_int, c_void_p, c_uint32),
    "xkb_compose_state_get_status": (c_int, c_void_p),
    "xkb_compose_state_get_utf8": (c_int, c_void_p, c_char_p, c_size_t),
}  # fmt: skip
"""Each function: what it returns, then its arguments."""


@functools.cache
def load() -> ctypes.PyDLL:
    """Return the library. Errors: OSError when there is none, or one without these functions.

    Calls keep the lock of the interpreter (PyDLL): a context is for one thread at a time.
    """
    library = open_library()
    for name, (result, *arguments) in SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise OSError(f"this libxkbcommon has no {name}: it is older than 0.5") from None
        function.restype = result
        function.argtypes = arguments
    return library


def open_library() -> ctypes.PyDLL:
    """Open the library under one of its names. Errors: OSError, that of the first name."""
    first: OSError | None = None
    for name in NAMES:
        try:
            return ctypes.PyDLL(name)
        except OSError as error:
            first = first or error
    raise first or OSError("libxkbcommon has no name here")


class Owned:
    """A handle of the library, freed when its object goes."""

    def __init__(self, made_by: str, freed_by: str, *arguments: object) -> None:
        """Call the function that makes the handle. Errors: OSError; XkbError when it makes none."""
        library = load()
        self._library = library
        self.handle = getattr(library, made_by)(*arguments)
        if not self.handle:
            raise XkbError(f"{made_by} failed")
        weakref.finalize(self, getattr(library, freed_by), self.handle)


class Context(Owned):
    """What keymaps and compose tables are made in. Errors: OSError; XkbError.

    The default layout does not come from the environment.
    """

    def __init__(self) -> None:
        # Its log is silent before it looks for the layouts: it would print that there are none.
        flags = NO_DEFAULT_INCLUDES | NO_ENVIRONMENT_NAMES
        super().__init__("xkb_context_new", "xkb_context_unref", flags)
        self._library.xkb_context_set_log_level(self.handle, SILENT)
        if not self._library.xkb_context_include_path_append_default(self.handle):
            raise XkbError("no folder of keyboard layouts")


class Keymap(Owned):
    """A compiled keymap. Errors: OSError; XkbError when there is no such layout."""

    def __init__(self, context: Context, rules: str, model: str, layout: str, variant: str) -> None:
        words = (part.encode() for part in (rules, model, layout, variant))
        names = ctypes.byref(RuleNames(*words, None))
        super().__init__(
            "xkb_keymap_new_from_names", "xkb_keymap_unref", context.handle, names, NO_FLAGS
        )

    def modifier(self, name: str) -> int:
        """Return the mask of a modifier. Errors: XkbError when the keymap has none of that name."""
        index: int = self._library.xkb_keymap_mod_get_index(self.handle, name.encode())
        if index == INVALID_MODIFIER:
            raise XkbError(f"the keymap has no modifier {name}")
        return 1 << index


class State(Owned):
    """A keyboard: which keys are pressed, and what they mean then."""

    def __init__(self, keymap: Keymap) -> None:
        super().__init__("xkb_state_new", "xkb_state_unref", keymap.handle)

    def press(self, key: int) -> None:
        """Press a key."""
        self._library.xkb_state_update_key(self.handle, key + KEYCODE_OFFSET, 1)

    def release(self, key: int) -> None:
        """Release a key."""
        self._library.xkb_state_update_key(self.handle, key + KEYCODE_OFFSET, 0)

    def lock(self, mask: int) -> None:
        """Lock just these modifiers; none is pressed or latched then."""
        self._library.xkb_state_update_mask(self.handle, 0, 0, mask, 0, 0, 0)

    @property
    def effective(self) -> tuple[int, int]:
        """The modifiers and the group in effect, held, latched and locked ones together."""
        return (
            self._library.xkb_state_serialize_mods(self.handle, MODS_EFFECTIVE),
            self._library.xkb_state_serialize_layout(self.handle, LAYOUT_EFFECTIVE),
        )

    def keysym(self, key: int) -> int:
        """Return what a key stands for now; 0 for nothing."""
        keysym: int = self._library.xkb_state_key_get_one_sym(self.handle, key + KEYCODE_OFFSET)
        return keysym

    def text(self, key: int) -> str:
        """Return what a key types now; nothing for a key that types nothing."""
        function = self._library.xkb_state_key_get_utf8
        return read_text(functools.partial(function, self.handle, key + KEYCODE_OFFSET))


class ComposeTable(Owned):
    """Which keysyms compose what (Compose(5)). Errors: OSError; XkbError for what is no table."""

    def __init__(self, context: Context, table: bytes, locale: str) -> None:
        super().__init__(
            "xkb_compose_table_new_from_buffer", "xkb_compose_table_unref",
            context.handle, table, len(table), locale.encode(), COMPOSE_FORMAT_TEXT_V1, NO_FLAGS,
        )  # fmt: skip


class ComposeState(Owned):
    """A composition on its way."""

    def __init__(self, table: ComposeTable) -> None:
        super().__init__("xkb_compose_state_new", "xkb_compose_state_unref", table.handle, NO_FLAGS)

    def reset(self) -> None:
        """Begin anew."""
        self._library.xkb_compose_state_reset(self.handle)

    def feed(self, keysym: int) -> bool:
        """Take a keysym; returns False for one that compositions ignore, such as a modifier."""
        return bool(self._library.xkb_compose_state_feed(self.handle, keysym))

    def after(self, keysyms: Iterable[int]) -> int:
        """Begin anew with these keysyms, and return how far that leads, as a number.

        It is called some hundred thousand times for one layout.
        """
        handle, feed = self.handle, self._library.xkb_compose_state_feed
        self._library.xkb_compose_state_reset(handle)
        for keysym in keysyms:
            feed(handle, keysym)
        status: int = self._library.xkb_compose_state_get_status(handle)
        return status

    @property
    def status(self) -> ComposeStatus:
        """How far it is."""
        return ComposeStatus(self._library.xkb_compose_state_get_status(self.handle))

    def text(self) -> str:
        """Return what was composed."""
        function = self._library.xkb_compose_state_get_utf8
        return read_text(functools.partial(function, self.handle))


def keysym_name(keysym: int) -> str:
    """Return the name of a keysym, such as dead_acute. Errors: OSError; XkbError for no keysym."""
    return read_text(functools.partial(load().xkb_keysym_get_name, keysym))


def keysym_character(keysym: int) -> str:
    """Return the character that a keysym stands for; nothing for none. Errors: OSError."""
    code: int = load().xkb_keysym_to_utf32(keysym)
    return chr(code) if code else ""


def read_text(function: Callable[[ctypes.Array[ctypes.c_char], int], int]) -> str:
    """Call a function that fills a buffer as snprintf does. Errors: XkbError."""
    room = TEXT_BYTES
    while True:
        buffer = ctypes.create_string_buffer(room)
        length = function(buffer, room)
        if length < 0:
            raise XkbError(f"libxkbcommon has no text: {length}")
        if length < room:
            return buffer.raw[:length].decode()
        room = length + 1
