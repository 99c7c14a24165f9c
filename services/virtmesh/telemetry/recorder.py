"""TraceService: the flight recorders of a service, read by page or watched (virtmesh.trace.v1).

Writers do not wake watchers, because that would make every event more expensive. A watcher polls
every PAUSE_S seconds and reads one page of bounded size in each turn of the event loop. Nothing is
buffered for it: a slow watcher finds the oldest events overwritten, and is told how many.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from virtmesh_common.api.trace.v1 import trace_pb2 as pb
from virtmesh_common.api.trace.v1 import trace_pb2_grpc
from virtmesh_common.errors import ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import grpc.aio
    from virtmesh_native import Recorder

SERVICE = pb.DESCRIPTOR.services_by_name["TraceService"].full_name
EVENTS_DEFAULT = 65_536
"""Default capacity of a recorder, in events: 2.5 MiB."""
PAGE_DEFAULT, PAGE_MAX = 1024, 4096
"""Events of a page: the default, and the maximum (trace.proto)."""
PAGES_SHARED = 4
"""Pages that are kept for watchers in step."""
PAUSE_S = 0.02
"""Pause of a watcher that has read every event."""
LOOKS_PER_S = 400
"""So often all watchers together look for events: many of them pause for longer."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_COLUMNS = (
    pb.Page.TIMES_NS_FIELD_NUMBER,
    pb.Page.KINDS_FIELD_NUMBER,
    pb.Page.DETAILS_FIELD_NUMBER,
    pb.Page.QUEUES_FIELD_NUMBER,
    pb.Page.TOKENS_FIELD_NUMBER,
    pb.Page.VALUES_FIELD_NUMBER,
    pb.Page.EXTRAS_FIELD_NUMBER,
)
"""Fields of the columns of Recorder.read, in its order."""
_LENGTH_DELIMITED = 2
"""Wire type of a packed field (https://protobuf.dev/programming-guides/encoding/)."""


@dataclass(frozen=True)
class Traced:
    """The recorder of one side of one device, and what is needed to decode its events."""

    recorder: Recorder
    side: pb.Side.ValueType
    device: str
    kind: str
    compatible: str
    virtio_device_id: int
    reg_shift: int = 0
    symbol: Callable[[int], str] | None = None
    """Names program counters of the guest, of a CPU's side."""

    @property
    def position(self) -> pb.Position:
        """The oldest and the next sequence number of the recorder, and its capacity."""
        recorder = self.recorder
        return pb.Position(
            oldest_sequence=recorder.oldest,
            next_sequence=recorder.next,
            capacity=recorder.capacity,
        )

    def page(self, from_sequence: int, limit: int) -> pb.Page:
        """Read a page, with the symbols of its program counters."""
        page = read_page(self.recorder, from_sequence, limit)
        if self.symbol is not None:
            rows = zip(page.kinds, page.extras, strict=True)
            found = {pc for kind, pc in rows if kind == pb.EVENT_KIND_CPU_ACCESS}
            named = ((pc, self.symbol(pc)) for pc in sorted(found))
            page.symbols.extend(pb.Symbol(pc=pc, name=name) for pc, name in named if name)
        return page


class Bounded(Protocol):
    """The client of a call, as budgets see it (virtmesh.rpc.budgets)."""

    async def hold_call(self, name: str) -> AbstractContextManager[object]:
        """Take one of a limit for the call. Errors: LimitReached."""

    async def turn(self) -> None:
        """Wait for a turn to do a piece of work."""


class TracePlane(trace_pb2_grpc.TraceServiceServicer):
    """Serves TraceService. `find` returns what is traced of a device, or raises DeviceNotFound.

    `account` returns what the budgets say of the call that is served; None: watchers have no bound.
    """

    def __init__(
        self, find: Callable[[str], Traced], account: Callable[[], Bounded] | None = None
    ) -> None:
        self._find = find
        self._account = account
        self._run_id = secrets.token_hex(8)
        self._closed = False
        self._watching = 0
        self._pages: OrderedDict[tuple[int, int], pb.Page] = OrderedDict()
        """The pages made last, by recorder and first sequence: watchers in step share them."""

    def close(self) -> None:
        """End every stream."""
        self._closed = True

    async def Read(
        self, request: pb.ReadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ReadResponse:
        """Return one page of recorded events."""
        traced = self._find(request.device)
        position = traced.position
        first = position.oldest_sequence
        if request.HasField("from_sequence"):
            first = request.from_sequence
        limit = min(request.limit or PAGE_DEFAULT, PAGE_MAX)
        return pb.ReadResponse(
            source=self._source(traced),
            position=position,
            page=traced.page(first, limit),
        )

    async def Watch(  # type: ignore[override]  # the stubs know generators only
        self, request: pb.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Stream events: first the position of the recorder, then pages."""
        traced = self._find(request.device)
        mine = self._account() if self._account is not None else None
        with await mine.hold_call("trace-watchers") if mine is not None else nullcontext():
            self._watching += 1
            try:
                await self._watch(traced, request, context, mine)
            finally:
                self._watching -= 1

    async def _watch(
        self, traced: Traced, request: pb.WatchRequest, context: Any, mine: Bounded | None
    ) -> None:
        """Stream events to one watcher. Errors: ShuttingDown."""
        position = traced.position
        following = position.next_sequence
        if request.HasField("from_sequence"):
            following = min(following, request.from_sequence)
        await context.write(pb.WatchResponse(source=self._source(traced), position=position))
        while not self._closed:
            full = False
            if following < traced.recorder.next:  # Without new events no page is made.
                if mine is not None:
                    await mine.turn()
                page = self._shared(traced, following)
                if page.kinds:  # A loss is reported with the next event.
                    following = page.next_sequence
                    await context.write(pb.WatchResponse(page=page))
                full = len(page.kinds) == PAGE_DEFAULT
            await asyncio.sleep(0 if full else max(PAUSE_S, self._watching / LOOKS_PER_S))
        raise ShuttingDown("the service is stopping")

    def _shared(self, traced: Traced, following: int) -> pb.Page:
        """Return a page for a watcher: one that another watcher just got, or a new one."""
        key = id(traced.recorder), following
        page = self._pages.get(key)
        if page is None or not page.kinds:
            page = self._pages[key] = traced.page(following, PAGE_DEFAULT)
            if len(self._pages) > PAGES_SHARED:
                self._pages.popitem(last=False)
        return page

    def _source(self, traced: Traced) -> pb.Source:
        """Return the source of the events of a recorder."""
        return pb.Source(
            device=traced.device,
            side=traced.side,
            kind=traced.kind,
            compatible=traced.compatible,
            virtio_device_id=traced.virtio_device_id,
            realtime_offset_ns=time.time_ns() - time.monotonic_ns(),
            boot_id=boot_id(),
            run_id=self._run_id,
            reg_shift=traced.reg_shift,
        )


def read_page(recorder: Recorder, from_sequence: int, limit: int) -> pb.Page:
    """Read a page. The columns are copied into the message unchanged.

    They have the wire format of packed fields: kinds, details and queues are varints below 128, so
    each is one byte.
    """
    first, lost, columns, notes = recorder.read(from_sequence, limit)
    page = pb.Page(
        first_sequence=first,
        lost=lost,
        notes=[pb.Note(sequence=number, text=text) for number, text in notes],
    )
    page.MergeFromString(b"".join(map(_packed, _COLUMNS, columns)))
    page.next_sequence = first + len(page.kinds)
    return page


def _packed(number: int, column: bytes) -> bytes:
    """Return a column as a packed field."""
    return bytes([number << 3 | _LENGTH_DELIMITED]) + _varint(len(column)) + column


def _varint(number: int) -> bytes:
    """Encode a number as a varint: seven bits in a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


@cache
def boot_id() -> str:
    """Return the identifier of this boot of the host; empty if the system has none."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
