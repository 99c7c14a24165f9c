"""The session of one viewer: what it asks for, what it does, and what it is sent."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from virtmesh_client.aio.threads import run
from virtmesh_client.vnc.canvas import Canvas
from virtmesh_client.vnc.connection import Connection, Reader, Writer
from virtmesh_client.vnc.desk import Desk
from virtmesh_client.vnc.display import Display
from virtmesh_client.vnc.errors import ViewerError, ViewerLeft
from virtmesh_client.vnc.feed import Feed
from virtmesh_client.vnc.handshake import admit
from virtmesh_client.vnc.messages import (
    EnableContinuousUpdates,
    Fence,
    KeyEvent,
    Message,
    PointerEvent,
    SetDesktopSize,
    SetEncodings,
    SetPixelFormat,
    UpdateRequest,
    read_message,
)
from virtmesh_client.vnc.notes import pack_name
from virtmesh_client.vnc.options import VncOptions
from virtmesh_client.vnc.password import PasswordGate
from virtmesh_client.vnc.patience import Patience
from virtmesh_client.vnc.pixel_format import NATIVE
from virtmesh_client.vnc.resizing import Resizing
from virtmesh_client.vnc.spec import RELATIVE_ZERO, SizeStatus
from virtmesh_client.vnc.together import run_together
from virtmesh_client.vnc.wishes import read_wishes
from virtmesh_common.errors import DeviceLost, ServiceUnavailable
from virtmesh_common.gpu.errors import NoSuchScanout
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from virtmesh_client.async_machine import AsyncMachine
    from virtmesh_client.screen.aio import AsyncScreen

DEFAULT_OPTIONS = VncOptions()
LEFT_SECONDS = 5.0
"""How long what a viewer said before it left may be read."""
NO_PICTURE_SIZE = (640, 480)
"""The size of a screen that shows nothing, and prefers none."""


async def serve_viewer(
    machine: AsyncMachine,
    screen_name: str,
    reader: Reader,
    writer: Writer,
    options: VncOptions = DEFAULT_OPTIONS,
) -> None:
    """Serve one viewer until it leaves, over anything that works like a stream of asyncio.

    The writer is closed at the end. Cancelling the task ends the session; then, as whenever the
    viewer goes, all that it holds down is released. Of wrong passwords it knows only those of this
    viewer: `VncServer` judges all of its viewers together.

    Errors: ViewerError, when the viewer breaks the protocol, does not know the password, or is too
    slow; DeviceNotFound, WrongKind, NoSuchScanout, and other errors of `Screen.info`.
    """
    gate = None if options.password is None else PasswordGate(options.password)
    connection = Connection(reader, writer, options)
    try:
        await let_in(connection, gate)
        await serve_session(machine, screen_name, connection)
    finally:
        connection.close()


async def serve_session(machine: AsyncMachine, screen_name: str, connection: Connection) -> None:
    """Serve a viewer that was let in. Errors: as `serve_viewer`."""
    screen = machine.screen(screen_name)
    size = await find_size(screen, connection.options)
    await Session(machine, screen, connection, size).run()


async def let_in(connection: Connection, gate: PasswordGate | None, refusal: str = "") -> None:
    """Shake hands within the time limit. Errors: ViewerError."""
    seconds = connection.options.handshake_seconds
    try:
        async with time_limit(seconds):
            await admit(connection, gate, refusal)
    except TimeoutError:
        raise ViewerError(f"it did not finish the handshake within {seconds:g} s") from None
    except ViewerLeft:
        raise ViewerError("it left during the handshake") from None


async def find_size(screen: AsyncScreen, options: VncOptions) -> tuple[int, int]:
    """Return the size of the picture, or else of the mode. Errors: as `Screen.info`."""
    try:
        scanouts = await screen.info()
    except (DeviceLost, ServiceUnavailable):
        return NO_PICTURE_SIZE
    if options.scanout >= len(scanouts):
        raise NoSuchScanout(
            f"{screen.name} has no screen {options.scanout}: it has {len(scanouts)}"
        )
    found = scanouts[options.scanout]
    return found.picture or (found.mode if found.connected else NO_PICTURE_SIZE)


class Session:
    """Tasks: one reads, one sends, one follows the screen, one serves the input devices.

    Invariant: who holds `_lock` has the canvas to itself, on whatever thread.
    """

    def __init__(
        self,
        machine: AsyncMachine,
        screen: AsyncScreen,
        connection: Connection,
        size: tuple[int, int],
    ) -> None:
        options = connection.options
        self._options = options
        self._connection = connection
        self._patience = Patience(options.message_seconds)
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._display = Display(Canvas(), screen.name, *size)
        self._feed = Feed(screen, self._display, self._lock, options, self._wake.set)
        self._desk = Desk(machine, options, self._become_relative)
        self._resizing = Resizing(screen, self._display.notes, options, self._wake.set)

    async def run(self) -> None:
        """Serve the viewer until it leaves. Errors: ViewerError; VirtmeshError."""
        if not self._options.view_only:
            await self._desk.find()
        works = [self._read(), self._patience.run(), self._send()]
        works += [self._feed.run(), self._resizing.run()]
        if not self._options.view_only:
            works.append(self._desk.run())
        with contextlib.suppress(ViewerLeft):
            await run_together(*works)

    # -- From the viewer --------------------------------------------------------------------------

    async def _read(self) -> None:
        """Begin the session, and carry out messages. Errors: ViewerLeft; ViewerError.

        However it ends: what the viewer did before that reaches the devices.
        """
        display = self._display
        head = display.width.to_bytes(2, "big") + display.height.to_bytes(2, "big")
        await self._connection.write([head + NATIVE.pack() + pack_name(display.notes.name)])
        try:
            while True:
                kind = await self._connection.read_first()
                self._patience.begin()
                message = await read_message(kind, self._connection)
                self._patience.stop()
                self._carry_out(message)
                self._wake.set()
        except (ViewerLeft, ViewerError):
            self._patience.stop()
            await self._desk.finish()
            raise

    def _carry_out(self, message: Message) -> None:
        """Do what a message says; never wait. Errors: ViewerError."""
        display = self._display
        match message:
            case UpdateRequest():
                display.request(message)
            case PointerEvent() | KeyEvent() if self._options.view_only:
                pass
            case PointerEvent():
                self._point(message)
            case KeyEvent():
                self._desk.key(message)
            case SetPixelFormat():
                display.set_pixel_format(message.pixel_format)
            case SetEncodings():
                display.set_wishes(read_wishes(message.encodings))
            case Fence():
                display.take_fence(message)
            case EnableContinuousUpdates():
                display.set_continuous(message.area if message.enable else None)
            case SetDesktopSize():
                self._resize(message)
            case _:
                pass

    def _point(self, event: PointerEvent) -> None:
        """Move the pointer. While motions are agreed on, positions are those."""
        display = self._display
        if display.tells_motion:
            self._desk.move(event.buttons, event.x - RELATIVE_ZERO, event.y - RELATIVE_ZERO)
        else:
            size = display.width, display.height
            self._desk.point(event.buttons, (event.x, event.y), size)

    def _resize(self, wish: SetDesktopSize) -> None:
        """Give the screen another mode. Whether the guest follows is its affair."""
        if self._options.view_only:
            self._display.notes.answer_size(SizeStatus.PROHIBITED)
        elif wish.screens != 1:
            self._display.notes.answer_size(SizeStatus.INVALID_LAYOUT)
        else:
            self._resizing.wish(wish.width, wish.height)

    def _become_relative(self) -> None:
        """Learn that the pointer is a mouse."""
        self._display.notes.set_relative(True)
        self._display.change_all()
        self._wake.set()

    # -- To the viewer ----------------------------------------------------------------------------

    async def _send(self) -> None:
        """Send updates. Who has left may have said more, which is read first. Errors: ViewerError.

        ViewerLeft, when the reader does not notice.
        """
        try:
            await self._send_updates()
        except ViewerLeft:
            await asyncio.sleep(LEFT_SECONDS)
            raise

    async def _send_updates(self) -> None:
        """Send updates that are due. Errors: ViewerLeft; ViewerError."""
        display = self._display
        clock = asyncio.get_running_loop().time
        period, next_update = 1 / self._options.updates_per_second, 0.0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while display.is_due or display.has_messages:
                if not display.is_due:
                    await self._connection.write(display.take_messages())
                    continue
                await asyncio.sleep(max(0.0, next_update - clock()))
                next_update = clock() + period
                plan = display.plan()
                async with self._lock:
                    update = await run(partial(display.encode, plan))
                await self._connection.write(update)
