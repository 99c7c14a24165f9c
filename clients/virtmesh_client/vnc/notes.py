"""Rectangles without pixels: what the server confirms, and facts about the screen."""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING

from virtmesh_client.vnc.rects import Rect, pack_rect
from virtmesh_client.vnc.spec import Encoding, SizeReason, SizeStatus

if TYPE_CHECKING:
    from virtmesh_client.vnc.wishes import Wishes

NAME_MAX = 256
"""Longest name, in bytes."""
ANSWERS_MAX = 16
"""Most answers about sizes that wait; the oldest go first."""
ONCE = (
    Encoding.QEMU_EXTENDED_KEY,
    Encoding.QEMU_POINTER_MOTION,
    Encoding.DESKTOP_NAME,
    Encoding.EXTENDED_DESKTOP_SIZE,
)
"""What is told to a viewer when it says that it understands it, and again when it changes."""


class Notes:
    """What a viewer is to be told with its next update."""

    def __init__(self, name: str) -> None:
        self.shape = False
        """True if the cursor has another shape."""
        self.name = name
        """What the screen is called now."""
        self._is_relative = False
        self._due: set[Encoding] = set()
        self._answers: deque[SizeStatus] = deque(maxlen=ANSWERS_MAX)

    @property
    def is_relative(self) -> bool:
        """True if positions of the pointer are told as motions."""
        return self._is_relative

    def confirm(self, before: Wishes, after: Wishes) -> None:
        """Learn what the viewer understands."""
        self._due |= {one for one in ONCE if after.has(one) and not before.has(one)}
        self.shape |= after.draws_cursor

    def set_relative(self, is_relative: bool) -> None:  # noqa: FBT001 - it is the value
        """Tell whether the pointer is a mouse."""
        if is_relative != self._is_relative:
            self._is_relative = is_relative
            self._due.add(Encoding.QEMU_POINTER_MOTION)
            self.shape = True

    def set_name(self, name: str) -> None:
        """Tell another name of the screen."""
        if name != self.name:
            self.name = name
            self._due.add(Encoding.DESKTOP_NAME)

    def answer_size(self, status: SizeStatus) -> None:
        """Answer a wish for another size."""
        self._answers.append(status)

    def has_any(self, wishes: Wishes) -> bool:
        """Say whether there is something that the viewer understands."""
        return bool(
            (self.shape and wishes.draws_cursor)
            or self._answers
            or any(wishes.has(one) for one in self._due)
        )

    def take_shape(self, wishes: Wishes) -> bool:
        """Say whether the shape of the cursor is to be sent now."""
        found, self.shape = self.shape and wishes.draws_cursor, False
        return found

    def take(self, wishes: Wishes, width: int, height: int) -> list[bytes]:
        """Return the rectangles to be sent now."""
        due, self._due = {one for one in self._due if wishes.has(one)}, set()
        found: list[bytes] = []
        if Encoding.QEMU_EXTENDED_KEY in due:
            found.append(pack_rect(Rect(0, 0, 0, 0), Encoding.QEMU_EXTENDED_KEY))
        if Encoding.QEMU_POINTER_MOTION in due:
            place = Rect(int(not self._is_relative), 0, 0, 0)
            found.append(pack_rect(place, Encoding.QEMU_POINTER_MOTION))
        if Encoding.DESKTOP_NAME in due:
            found.append(pack_rect(Rect(0, 0, 0, 0), Encoding.DESKTOP_NAME, pack_name(self.name)))
        if Encoding.EXTENDED_DESKTOP_SIZE in due:
            found.append(pack_size(SizeReason.SERVER, SizeStatus.DONE, width, height))
        answers, self._answers = self._answers, deque(maxlen=ANSWERS_MAX)
        if wishes.has(Encoding.EXTENDED_DESKTOP_SIZE):
            reason = SizeReason.THIS_VIEWER
            found += [pack_size(reason, status, width, height) for status in answers]
        return found


def pack_name(name: str) -> bytes:
    """Return a name with its length."""
    text = name.encode(errors="replace")[:NAME_MAX]
    return struct.pack(">I", len(text)) + text


def pack_size(reason: SizeReason, status: SizeStatus, width: int, height: int) -> bytes:
    """Return an ExtendedDesktopSize rectangle with one screen."""
    screen = struct.pack(">IHHHHI", 0, 0, 0, width, height, 0)
    place = Rect(reason, status, width, height)
    return pack_rect(place, Encoding.EXTENDED_DESKTOP_SIZE, struct.pack(">B3x", 1) + screen)
