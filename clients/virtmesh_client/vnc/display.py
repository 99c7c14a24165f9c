"""What one viewer has been shown, what it waits for, and what it is to be sent next.

All methods but `encode` run on the event loop. `encode` runs on a thread: it uses what is in its
plan, the encoders, and the canvas, which the caller has locked.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_client.vnc.cursor import cursor_rect, pack_cursor
from virtmesh_client.vnc.encoders.raw import RawEncoder
from virtmesh_client.vnc.encoders.tight import TightEncoder
from virtmesh_client.vnc.encoders.zrle import ZrleEncoder
from virtmesh_client.vnc.errors import ViewerError
from virtmesh_client.vnc.notes import Notes, pack_size
from virtmesh_client.vnc.pixel_format import NATIVE, colour_map
from virtmesh_client.vnc.pixels import PixelCodec
from virtmesh_client.vnc.rects import Rect, pack_rect
from virtmesh_client.vnc.region import Region
from virtmesh_client.vnc.spec import (
    Encoding,
    FenceFlag,
    SizeReason,
    SizeStatus,
    ToViewer,
)
from virtmesh_client.vnc.wishes import Wishes

if TYPE_CHECKING:
    from virtmesh_client.screen.update import Cursor
    from virtmesh_client.vnc.canvas import Canvas
    from virtmesh_client.vnc.encoders.base import Encoder
    from virtmesh_client.vnc.messages import Fence, UpdateRequest
    from virtmesh_client.vnc.pixel_format import PixelFormat
    from virtmesh_client.vnc.pixels import Pixels

MESSAGES_MAX = 64
"""Most messages that wait until the viewer reads."""
IN_FLIGHT_MAX = 2
"""Continuous updates that are sent before the viewer says that it has the first."""


@dataclass(frozen=True)
class Plan:
    """An update that is to be made."""

    head: tuple[bytes, ...]
    """Messages before it."""
    notes: tuple[bytes, ...]
    """Its rectangles without pixels."""
    rects: tuple[Rect, ...]
    wishes: Wishes
    codec: PixelCodec
    with_cursor: bool
    with_shape: bool
    """True to send the shape of the cursor."""
    has_shape: bool
    """False to send a shape without pixels: the cursor is in the picture."""
    tail: tuple[bytes, ...]
    """Messages behind it."""


class Display:
    """The screen as a viewer knows it."""

    def __init__(self, canvas: Canvas, name: str, width: int, height: int) -> None:
        self.canvas = canvas
        self.wishes = Wishes()
        self.width, self.height = width, height
        """The size that the viewer knows."""
        self.notes = Notes(name)
        self.is_ready = False
        """True once it is known what the screen shows: many take only the first update."""
        self.updates = 0
        """Updates of the screen so far."""
        self._codec = PixelCodec(NATIVE)
        self._encoders: dict[Encoding, Encoder] = {}
        self._region = Region(width, height)
        self._region.add_all()
        self._requested: Rect | None = None
        self._continuous: Rect | None = None
        self._in_flight = 0
        self._messages: deque[bytes] = deque()

    # -- What the viewer says ---------------------------------------------------------------------

    def set_pixel_format(self, wanted: PixelFormat) -> None:
        """Send pixels of another format from now on."""
        self._codec = PixelCodec(wanted)
        if not wanted.true_colour:
            self._put_message(colour_map())
        self._region.add_all()
        self.notes.shape = True

    def set_wishes(self, wishes: Wishes) -> None:
        """Learn what the viewer understands."""
        before, self.wishes = self.wishes, wishes
        self.notes.confirm(before, wishes)
        new = wishes.extensions - before.extensions
        if Encoding.FENCE in new:
            self._put_message(pack_fence(FenceFlag.REQUEST, b""))
        if self.has_continuous_updates and Encoding.CONTINUOUS_UPDATES in new:
            self._put_message(bytes([ToViewer.END_OF_CONTINUOUS_UPDATES]))
        self._region.add(cursor_rect(self.canvas.cursor))

    @property
    def has_continuous_updates(self) -> bool:
        """True if updates may come without requests. Fences tell that the viewer keeps up."""
        both = (Encoding.CONTINUOUS_UPDATES, Encoding.FENCE)
        return all(self.wishes.has(one) for one in both)

    def request(self, request: UpdateRequest) -> None:
        """Send what has changed in an area as soon as something has."""
        if not request.incremental:
            self._region.add(request.area)
        before = self._requested
        self._requested = request.area if before is None else before.join(request.area)

    def set_continuous(self, area: Rect | None) -> None:
        """Send what changes in an area without requests; None: on request. Errors: ViewerError."""
        if not self.has_continuous_updates:
            raise ViewerError("it wants continuous updates, and did not list them and fences")
        if area is None and self._continuous is not None:
            self._put_message(bytes([ToViewer.END_OF_CONTINUOUS_UPDATES]))
        self._continuous = area

    def take_fence(self, fence: Fence) -> None:
        """Send a fence back, or learn that one of ours came back."""
        if not fence.flags & FenceFlag.REQUEST:
            self._in_flight = max(0, self._in_flight - bool(fence.payload))
            return
        known = fence.flags & (FenceFlag.BLOCK_BEFORE | FenceFlag.BLOCK_AFTER)
        self._put_message(pack_fence(known, fence.payload))

    # -- What the screen does ---------------------------------------------------------------------

    def damage(self, rects: list[Rect]) -> None:
        """Add what has changed."""
        for rect in rects:
            self._region.add(rect)

    def change_all(self) -> None:
        """There is another picture."""
        self._region.add_all()

    def change_cursor(self, before: Cursor | None, after: Cursor | None) -> None:
        """Learn that the cursor has moved, or has another shape."""
        if self._has_drawn_cursor:
            self._region.add(cursor_rect(before))
            self._region.add(cursor_rect(after))
        elif shape_of(before) != shape_of(after):
            self.notes.shape = True

    @property
    def tells_motion(self) -> bool:
        """True if the positions of the viewer's pointer are motions (QEMU's extension)."""
        return self.notes.is_relative and self.wishes.has(Encoding.QEMU_POINTER_MOTION)

    @property
    def _has_drawn_cursor(self) -> bool:
        """True if the cursor is in the pixels that are sent."""
        return self.notes.is_relative or not self.wishes.draws_cursor

    # -- What is sent -----------------------------------------------------------------------------

    @property
    def has_messages(self) -> bool:
        """True if there are messages to be sent."""
        return bool(self._messages)

    def take_messages(self) -> list[bytes]:
        """Return the messages to be sent now."""
        found = list(self._messages)
        self._messages.clear()
        return found

    @property
    def is_due(self) -> bool:
        """True if the viewer waits for an update, and there is something for it."""
        area = self._area()
        if area is None or not self.is_ready:
            return False
        return self.notes.has_any(self.wishes) or self._has_other_size or self._region.touches(area)

    def plan(self) -> Plan:
        """Return the update that is due. Its changes count as sent."""
        area = self._area()
        self._requested = None
        wishes, notes = self.wishes, self.notes
        with_shape = notes.take_shape(wishes)
        extra = notes.take(wishes, self.width, self.height)
        rects: list[Rect] = []
        if self._has_other_size:
            extra.append(self._resize())
        elif area is not None:
            rects = self._region.take(area)
        tail: list[bytes] = []
        if self._continuous is not None:
            self._in_flight += 1
            flags = FenceFlag.REQUEST | FenceFlag.BLOCK_BEFORE
            tail.append(pack_fence(flags, b"\x01"))
        return Plan(
            head=tuple(self.take_messages()),
            notes=tuple(extra),
            rects=tuple(rects),
            wishes=wishes,
            codec=self._codec,
            with_cursor=self._has_drawn_cursor,
            with_shape=with_shape,
            has_shape=not notes.is_relative,
            tail=tuple(tail),
        )

    def encode(self, plan: Plan) -> list[bytes]:
        """Make the bytes of an update."""
        found = list(plan.notes)
        if plan.with_shape:
            alpha = plan.wishes.has(Encoding.CURSOR_WITH_ALPHA)
            shape = self.canvas.cursor if plan.has_shape else None
            found.append(pack_cursor(shape, plan.codec, with_alpha=alpha))
        for rect in plan.rects:
            pixels = self.canvas.read(rect, with_cursor=plan.with_cursor)
            found += self._encode_rect(rect, pixels, plan)
        # Fewer than 64 Ki: a region has 256 rectangles at most, and Tight splits a screen into
        # parts of 64 rows and 16 columns at least.
        head = struct.pack(">BxH", ToViewer.UPDATE, len(found))
        return [*plan.head, head, *found, *plan.tail]

    def _area(self) -> Rect | None:
        """Return where the viewer waits for changes; None if it does not wait."""
        area = self._requested
        if self._continuous is not None and self._in_flight < IN_FLIGHT_MAX:
            area = self._continuous if area is None else area.join(self._continuous)
        return area

    @property
    def _has_other_size(self) -> bool:
        """True if the picture has a size that the viewer does not know, and it takes that."""
        width, height = self.canvas.size
        return bool(width) and (width, height) != self._size and self.wishes.resizes

    @property
    def _size(self) -> tuple[int, int]:
        return self.width, self.height

    def _resize(self) -> bytes:
        """Give the viewer the size of the picture; all of it is sent behind that."""
        self.width, self.height = self.canvas.size
        self._region = Region(self.width, self.height)
        self._region.add_all()
        if self._continuous is not None:
            self._continuous = self._region.bounds
        if self.wishes.has(Encoding.EXTENDED_DESKTOP_SIZE):
            return pack_size(SizeReason.SERVER, SizeStatus.DONE, self.width, self.height)
        return pack_rect(Rect(0, 0, self.width, self.height), Encoding.DESKTOP_SIZE)

    def _encode_rect(self, rect: Rect, pixels: Pixels, plan: Plan) -> list[bytes]:
        """Return the rectangles that one becomes."""
        wishes = plan.wishes
        encoder = self._encoders.get(wishes.pixels)
        if encoder is None:
            encoder = self._encoders[wishes.pixels] = make_encoder(wishes)
        if isinstance(encoder, TightEncoder):
            encoder.quality = wishes.quality
        return encoder.encode(rect, pixels, plan.codec)

    def _put_message(self, message: bytes) -> None:
        """Send a message before the next update. Errors: ViewerError."""
        if len(self._messages) >= MESSAGES_MAX:
            raise ViewerError(f"it asks, and does not read {MESSAGES_MAX} answers")
        self._messages.append(message)


def make_encoder(wishes: Wishes) -> Encoder:
    """Return an encoder of pixels. It serves the viewer to its end, with the first zlib level."""
    if wishes.pixels is Encoding.ZRLE:
        return ZrleEncoder(wishes.level)
    if wishes.pixels is Encoding.TIGHT:
        return TightEncoder(wishes.level)
    return RawEncoder()


def pack_fence(flags: int, payload: bytes) -> bytes:
    """Return a fence message."""
    return struct.pack(">B3xIB", ToViewer.FENCE, flags, len(payload)) + payload


def shape_of(cursor: Cursor | None) -> tuple[bytes, int, int] | None:
    """Return what a viewer needs to draw a cursor; None if it is hidden."""
    if cursor is None or not cursor.visible:
        return None
    return cursor.image, cursor.hot_x, cursor.hot_y
