"""A display service that sends what the test tells it to, whatever that is."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from virtmesh_common.api.display.v1 import display_pb2 as pb
from virtmesh_common.api.display.v1 import display_pb2_grpc as rpc
from virtmesh_common.channel import SERVER_OPTIONS
from virtmesh_common.errors import DETAILS_KEY, VirtmeshError, to_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class FakeDisplay(rpc.DisplayServiceServicer):
    """Sends messages to who watches; then it fails with an error, or sends no more."""

    def __init__(self) -> None:
        self.messages: Sequence[pb.WatchResponse] = ()
        self.next_messages: Sequence[pb.WatchResponse] | None = None
        """What the second watcher gets, who meets no error."""
        self.blinking: Sequence[pb.Change] = ()
        """Send an update with one of these after the other, for ever."""
        self.endless = False
        """Send the last message for ever."""
        self.error: VirtmeshError | None = None
        self.ends = False
        """End the stream after the messages, without an error."""
        self.shot: Sequence[pb.ScreenshotResponse] = ()
        """The pieces of a screenshot; the last one for ever with `endless`."""
        self.requests: list[pb.WatchRequest] = []
        self.came = threading.Semaphore(0)
        """Counts the watchers that have come."""
        self.left = threading.Semaphore(0)
        """Counts the watchers that have gone."""

    def Screenshot(
        self, request: pb.ScreenshotRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ScreenshotResponse]:
        """Send the pieces."""
        yield from self.shot
        while self.endless and context.is_active():
            yield self.shot[-1]

    def Watch(
        self, request: pb.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchResponse]:
        """Send the messages."""
        self.requests.append(request)
        self.came.release()
        gone = threading.Event()
        if not context.add_callback(gone.set):
            gone.set()
        messages, error = self.messages, self.error
        if self.next_messages is not None and len(self.requests) > 1:
            messages, error = self.next_messages, None
        try:
            yield from messages
            for number in itertools.count(len(messages) + 1):
                if not self.blinking or gone.is_set():
                    break
                first = messages[0]
                yield pb.WatchResponse(
                    update=number,
                    width=first.width,
                    height=first.height,
                    changes=[self.blinking[number % len(self.blinking)]],
                    last=True,
                    flushes=1,
                )
            while self.endless and not gone.is_set():
                yield self.messages[-1]
            if error is not None:
                details = to_status(error).SerializeToString()
                context.set_trailing_metadata(((DETAILS_KEY, details),))
                context.abort(error.code, error.message)
            if not self.ends:
                gone.wait()
        finally:
            self.left.release()


@contextmanager
def fake_display(folder: Path) -> Iterator[tuple[FakeDisplay, str]]:
    """Serve one for a while; gives it and its address."""
    display = FakeDisplay()  # type: ignore[abstract]
    address = f"unix:{folder / 'd'}"
    server = grpc.server(ThreadPoolExecutor(8), options=SERVER_OPTIONS)
    rpc.add_DisplayServiceServicer_to_server(display, server)
    server.add_insecure_port(address)
    server.start()
    try:
        yield display, address
    finally:
        server.stop(grace=None).wait()


def whole(
    width: int, height: int, pixels: bytes, *, update: int = 1, **more: Any
) -> pb.WatchResponse:
    """Return an update with the whole of another picture."""
    changes = [change(0, 0, width, height, pixels)] if pixels else []
    return pb.WatchResponse(
        update=update,
        width=width,
        height=height,
        **{"is_new": True, "last": True, "changes": changes, **more},
    )


def change(x: int, y: int, width: int, height: int, pixels: bytes) -> pb.Change:
    """Return a rectangle."""
    return pb.Change(x=x, y=y, width=width, height=height, pixels=pixels)
