"""Reading the flight recorders of a machine: both sides of each device, behind one address.

A live trace has a thread for each recorder, which waits for its stream; the threads hand pages over
through a bounded queue. When it is full they stop reading, and what the recorder overwrites
meanwhile is counted as lost: nothing grows.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from virtmesh_client.interface import read_interface
from virtmesh_client.trace.events import BACK, GONE, LOST, Event, Source, read_page, read_source
from virtmesh_client.trace.merge import Clock, LiveMerge, merge
from virtmesh_common.api.trace.v1 import trace_pb2 as pb
from virtmesh_common.api.trace.v1.trace_pb2_grpc import TraceServiceStub
from virtmesh_common.errors import (
    BadInterface,
    BadStream,
    DeviceLost,
    ServiceUnavailable,
    ShuttingDown,
    VirtmeshError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from virtmesh_client.channel import Cancellable, KernelChannel
    from virtmesh_common.interface import Interface

log = logging.getLogger(__name__)

PAGE_EVENTS = 4096
"""Events of a page that is asked for."""
PAGES_WAITING = 32
"""Pages that wait to be merged."""
WAIT_S = 0.1
"""How long events of a live trace wait for earlier ones of other recorders: several times what a
recorder takes to send them."""
TICK_S = 0.02
"""How often a live trace looks whether events have waited long enough."""
RETRY_S = 0.5
"""Pause before a recorder that went away is tried again."""
ASKS = 5
"""How often a page without progress is asked for again: its first event is still being written."""
ASK_S = 0.02
"""Pause before that."""

COMES_BACK = (DeviceLost, ServiceUnavailable, ShuttingDown)
"""What a recorder that may come back fails with."""


@dataclass(frozen=True)
class Place:
    """A recorder of a machine: which device, which side."""

    device: str
    side: str

    @property
    def route(self) -> str:
        """The device that a call is routed to; empty for the kernel service's own recorders."""
        return self.device if self.side == "device" else ""


def places(devices: Iterable[str]) -> list[Place]:
    """Return the recorders of devices."""
    return [Place(device, side) for device in devices for side in ("driver", "device")]


def read_traces(channel: KernelChannel, devices: Sequence[str]) -> Iterator[Event]:
    """Read what the recorders of devices hold now, by time.

    Reading is lazy: what a busy recorder overwrites meanwhile is reported as lost. A recorder that
    does not answer is an event GONE. Errors: DeviceNotFound, and what ends a call for good.
    """
    streams: list[Iterable[Event]] = []
    for place in places(devices):
        try:
            streams.append(_pages(channel, place, ask_page(channel, place, None)))
        except COMES_BACK as error:
            if not place.route:
                raise  # the kernel service itself
            streams.append([make_notice(place, GONE, error.message)])
    return merge(streams, Clock())


def describe(channel: KernelChannel, place: Place) -> Interface | None:
    """Ask how a device describes itself; None where nothing is to be learnt from it.

    A driver's side needs no names of the device.
    """
    if not place.route:
        return None
    try:
        return read_interface(channel, place.device)
    except BadInterface as error:
        log.warning("%s; its trace is shown without the names", error.message)
    except VirtmeshError:
        pass  # An earlier version has no such call, and whoever is gone is reported as gone.
    return None


def ask_page(
    channel: KernelChannel, place: Place, from_sequence: int | None, limit: int = PAGE_EVENTS
) -> pb.ReadResponse:
    """Ask for a page of so many events at most."""
    request = pb.ReadRequest(device=place.device, from_sequence=from_sequence, limit=limit)
    return channel.ask(TraceServiceStub(channel.grpc).Read, request, place.route)


def _pages(channel: KernelChannel, place: Place, response: pb.ReadResponse) -> Iterator[Event]:
    """Read a recorder up to where it stood at the first answer; what does not come is lost."""
    source = read_source(response.source, describe(channel, place))
    end = response.position.next_sequence
    following, asks = response.position.oldest_sequence, ASKS
    while following < end and response.source.run_id == source.run_id:
        page = response.page
        if page.times_ns and page.first_sequence >= end:
            break  # all that was wanted is overwritten
        if page.times_ns and page.next_sequence > following:
            yield from (event for event in take_page(source, page) if event.sequence < end)
            following, asks = page.next_sequence, ASKS
            if following >= end:
                break
        elif asks:
            asks -= 1
            time.sleep(ASK_S)
        else:
            break
        try:
            response = ask_page(channel, place, following)
        except COMES_BACK as error:
            yield make_notice(place, GONE, error.message, source)
            return
    if following < end:
        lost = make_notice(place, LOST, "", source)
        yield replace(lost, sequence=end, value=end - following)


def take_page(source: Source, page: pb.Page) -> Iterator[Event]:
    """Take a page apart. Errors: BadStream."""
    try:
        yield from read_page(source, page)
    except ValueError as error:
        raise BadStream(f"a page of {source.device}'s trace has uneven columns") from error


def make_notice(place: Place, kind: str, text: str, source: Source | None = None) -> Event:
    """Make an event that says what became of a recorder, at the time of this host."""
    now = time.time_ns()
    source = source or Source(
        place.device, place.side, realtime_offset_ns=now - time.monotonic_ns()
    )
    return Event(source, 0, now - source.realtime_offset_ns, kind, text=text)


def follow_traces(
    channel: KernelChannel,
    devices: Sequence[str],
    *,
    past: bool = False,
    stop: threading.Event | None = None,
) -> Iterator[Event]:
    """Return events as they are recorded, by time, until `stop` is set; with `past` the kept ones.

    Recorders that go away are waited for: events GONE and BACK say so. Errors: DeviceNotFound.
    """
    stop = stop or threading.Event()
    pump = _Pump(channel, stop)
    live = LiveMerge(Clock(), WAIT_S)
    try:
        pump.start(places(devices), past=past)
        while not stop.is_set():
            with contextlib.suppress(queue.Empty):
                live.add(pump.next(TICK_S), time.monotonic())
            yield from live.ready(time.monotonic())
        yield from live.rest()
    finally:
        pump.close()


class _Pump:
    """The threads that read the streams, and the queue that they fill."""

    def __init__(self, channel: KernelChannel, stop: threading.Event) -> None:
        self._channel = channel
        self._stop = stop
        self._queue: queue.Queue[list[Event] | VirtmeshError] = queue.Queue(PAGES_WAITING)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._calls: dict[Place, Cancellable] = {}

    def start(self, wanted: Iterable[Place], *, past: bool) -> None:
        """Start a thread for each recorder."""
        for place in wanted:
            thread = threading.Thread(
                target=self._read, args=(place, past), name=f"trace {place}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def next(self, timeout: float) -> list[Event]:
        """Return the next page. Errors: queue.Empty; what a stream failed with for good."""
        self._channel.check_process()
        item = self._queue.get(timeout=timeout)
        if isinstance(item, VirtmeshError):
            raise item
        return item

    def close(self) -> None:
        """End the streams and the threads. In a forked child nothing happens."""
        if self._channel.forked:
            return
        self._stop.set()
        with self._lock:
            for call in self._calls.values():
                call.cancel()
        for thread in self._threads:
            thread.join()

    def _put(self, item: list[Event] | VirtmeshError) -> None:
        """Hand something over; wait for room unless nobody takes it any more."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=RETRY_S)
            except queue.Full:
                continue
            return

    def _read(self, place: Place, past: bool) -> None:  # noqa: FBT001 - a thread's argument
        """Read a recorder until the end, through all its absences."""
        cursor = _Cursor(0 if past else None)
        while not self._stop.is_set():
            try:
                self._watch(place, cursor)
            except COMES_BACK as error:
                if not cursor.gone:
                    self._put([make_notice(place, GONE, error.message, cursor.source)])
                cursor.gone = True
                self._stop.wait(RETRY_S)
            except VirtmeshError as error:
                self._put(error)
                return

    def _watch(self, place: Place, cursor: _Cursor) -> None:
        """Read one stream. Errors: what ended it."""
        stub = TraceServiceStub(self._channel.grpc)
        request = pb.WatchRequest(device=place.device, from_sequence=cursor.following)
        with self._channel.errors():
            call: Any = stub.Watch(request, metadata=self._channel.metadata(place.route))
            with self._lock:
                self._calls[place] = cast("Cancellable", call)
            if self._stop.is_set():
                call.cancel()
            for response in call:
                if not response.HasField("source"):
                    self._put(list(take_page(cursor.known, response.page)))
                    cursor.following = response.page.next_sequence
                    continue
                renumbered = cursor.begin(response, describe(self._channel, place))
                if cursor.gone:
                    self._put([make_notice(place, BACK, "", cursor.source)])
                    cursor.gone = False
                if renumbered:
                    return  # ask again: from the first event of the new run
        raise DeviceLost(f"{place.device} ended the stream")


class _Cursor:
    """How far a recorder is read, and in which of its runs."""

    def __init__(self, following: int | None) -> None:
        self.following = following
        self.source: Source | None = None
        self.gone = False

    @property
    def known(self) -> Source:
        """The source. Errors: BadStream before a stream has said what it is."""
        if self.source is None:
            raise BadStream("a trace began without saying where it is from")
        return self.source

    def begin(self, response: pb.WatchResponse, interface: Interface | None) -> bool:
        """Take the beginning of a stream; True when it is another run, numbered anew."""
        before, self.source = self.source, read_source(response.source, interface)
        if before is not None and self.source.run_id != before.run_id:
            self.following = 0
            return True
        if before is not None:
            # One clock for one run, or its times would jump.
            self.source = replace(self.source, realtime_offset_ns=before.realtime_offset_ns)
        if self.following is None:
            self.following = response.position.next_sequence
        return False
