"""The virtio GPU device in 2D (virtio 1.4, 5.7): a screen, or up to four.

https://docs.oasis-open.org/virtio/virtio/v1.4/virtio-v1.4.html

The way of a picture: the driver draws in guest memory, TRANSFER_TO_HOST_2D copies it to a resource
(commands, virtmesh_native.Surface), RESOURCE_FLUSH copies it to the picture of a scanout (scanout,
virtmesh_native.Picture), and watchers take what has changed (service, damage). A blob needs no
transfer: its flush copies from guest memory.

Commands of the control queue are carried out one after the other, so that a fence means what the
driver expects. Small copies are made at once; larger ones by a thread, while the queue waits and
everything else goes on.

Threats and known gaps:
- A driver writes anything to the rings and into commands: rings are checked natively, commands
  whole before they are carried out. Resources, their number, their backings and their memory are
  bounded; a copy is ended by a reset.
- A driver that keeps its queues busy costs this process time, a bounded part of each turn of the
  event loop: there is no rate limit.
- Whoever reaches the address of DisplayService sees the screen: it has no authentication of its
  own, so listen on a unix socket or a private network.
- A process of this device that takes the place of one that was killed makes the resources again
  (journal), and takes their pixels from guest memory: what a guest has drawn there and not flushed
  yet is seen.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from virtmesh.gpu.commands import REQUEST_MAX, Answer, Commands
from virtmesh.gpu.cursors import CursorCommands
from virtmesh.gpu.journal import BYTES as KEPT_BYTES
from virtmesh.gpu.journal import Journal, record_of
from virtmesh.gpu.refused import Refused
from virtmesh.gpu.reply import Header, Reply
from virtmesh.gpu.resources import Resources
from virtmesh.gpu.restoring import again
from virtmesh.gpu.scanout import Scanout
from virtmesh.gpu.settings import OFFERED, GpuOptions
from virtmesh.virtio.queue_device import QueueDevice
from virtmesh.virtio.served_queue import MalformedChain
from virtmesh_common.fault.words import DISPLAY, bits_of
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import CONTROLQ, CURSORQ, GpuEvent, GpuFeature, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from enum import IntFlag

    from virtmesh_native import GuestMemory

    from virtmesh.gpu.commands import Copy
    from virtmesh.gpu.settings import Mode
    from virtmesh.mmio.kept_state import KeptState
    from virtmesh.virtio.queue_device import Chain, ServedQueue
    from virtmesh_common.registers import Register

__all__ = ["GpuModel", "GpuOptions"]

log = structlog.get_logger(__name__)

INLINE_BYTES = 256 << 10
"""Largest copy that is made at once, on the event loop: about 50 us."""
WATCHER_BYTES = 16 << 10
"""What it costs to tell one watcher of a change, as bytes that are copied: about 5 us."""
TURN_BYTES = 2 << 20
"""Bytes that are read and copied in one turn of the event loop, before others have theirs."""
CURSOR_REQUEST = spec.CTRL_HDR.size + spec.UPDATE_CURSOR.size
"""Bytes of a request on the cursor queue that are read."""

FLUSHES = bits_of(*DISPLAY)
"""The faults on demand that flushes can have."""


class GpuModel(QueueDevice):
    """A GPU."""

    kind = "gpu"
    device_id = spec.VIRTIO_ID_GPU
    family: type[IntFlag] = GpuFeature
    queue_names = ("control queue", "cursor queue")
    config = spec.CONFIG
    malformed_rule = "gpu-request"
    kept_state_bytes = KEPT_BYTES

    def __init__(self, name: str, options: GpuOptions) -> None:
        super().__init__(name, (options.queue_size,) * 2, int(OFFERED) & ~options.without)
        self.options = options
        self.scanouts = [Scanout(number, options.mode) for number in range(options.scanouts)]
        self.resources = Resources(options.memory_max)
        self.commands = Commands(self.resources, self.scanouts)
        self.commands.loses_flush = lambda: bool(self.interrupt.take_fault(FLUSHES))
        self.cursors = CursorCommands(self.resources, self.scanouts)
        self.command_counts: dict[tuple[str, str], int] = {}
        """Commands by name and by name of the response."""
        self.journal = Journal()
        self._due: list[bytes] = []
        """What the last process has kept, until the control queue is started."""
        self._noted: set[tuple[str, Response]] = set()
        self._events = GpuEvent(0)
        self._turn_bytes = 0
        self._copier = ThreadPoolExecutor(1, "pixels")
        self._copying = False
        self._idle = threading.Event()
        """Set while no thread copies: `join` waits for it."""
        self._idle.set()

    # -- Configuration space (5.7.4) ----------------------------------------------------------

    def read_config(self, field: Register) -> int:
        """Read a field of the configuration space."""
        if field is spec.EVENTS_READ:
            return int(self._events)
        return len(self.scanouts) if field is spec.NUM_SCANOUTS else 0

    def write_config(self, field: Register, value: int) -> None:
        """Write `events_clear`, the one field that can be written."""
        del field
        self._events &= ~GpuEvent(value & GpuEvent.VIRTIO_GPU_EVENT_DISPLAY)

    def negotiate(self, features: int) -> None:
        """Take the features."""
        self.commands.features = features

    def reset(self) -> None:
        """Forget what the driver made. The screens stay connected."""
        self.commands.reset()
        self.cursors.reset()
        self._events = GpuEvent(0)
        self._due = []
        self.journal.clear()

    def take_kept(self, state: KeptState | None) -> None:
        """Take what the last process has kept: it is made again when the control queue starts."""
        self._due = self.journal.open(state)

    def set_mode(self, number: int, mode: Mode | None) -> None:
        """Give a screen another preferred mode, or disconnect it; tell the driver (5.7.5).

        Nothing that the driver shows changes by itself.
        """
        scanout = self.scanouts[number]
        scanout.enabled = mode is not None
        scanout.mode = mode or scanout.mode
        self._events |= GpuEvent.VIRTIO_GPU_EVENT_DISPLAY
        self.config_generation = self.config_generation + 1 & 0xFFFF_FFFF
        if self._queues:  # No notifications to a device that is not live (2.4.1).
            self.interrupt.raise_config()

    # -- Queues -------------------------------------------------------------------------------

    def look(self, queue: ServedQueue) -> bool:
        """Carry out what is there, up to a copy that a thread makes, or the end of a turn."""
        if queue.index == CURSORQ:
            return super().look(queue)
        self._turn_bytes = 0
        for _ in range(self.chains_per_turn):
            if self._copying:
                return False  # The end of the copy looks again.
            if self._turn_bytes > TURN_BYTES:
                break
            chain = queue.pop()
            if chain is None:
                return queue.enable_notifications()
            try:
                self.take(chain)
            except MalformedChain as error:
                queue.refuse(chain, str(error), self.malformed_rule)
        queue.disable_notifications()  # The next look comes without one.
        return True

    def take(self, chain: Chain) -> None:
        """Take a command. Errors: MalformedChain for one that has no room for an answer."""
        header = Header.unpack(chain.read(spec.CTRL_HDR.size))
        longest = CURSOR_REQUEST if chain.queue == CURSORQ else REQUEST_MAX
        length = min(chain.readable_bytes, longest) - spec.CTRL_HDR.size
        body = chain.read(length, spec.CTRL_HDR.size)
        self._turn_bytes += len(body)
        # Linux leaves no room for the answer to a cursor command.
        unanswered = chain.queue == CURSORQ and not chain.writable
        if chain.writable_bytes < spec.CTRL_HDR.size and not unanswered:
            raise MalformedChain(
                f"{chain.writable_bytes} bytes are too few for an answer, which begins with a"
                f" header of {spec.CTRL_HDR.size} (5.7.6.7)"
            )
        reply = Reply(self, chain, header)
        chain.begin(spec.trace_number(header.command), extra=len(body))
        try:
            if chain.queue == CURSORQ:
                answer = self.cursors.carry_out(header.command, body, chain.memory)
                self.journal.move_cursor(*self.cursors.last)
            else:
                answer = self._carry_out(header.command, body, chain.memory)
        except Refused as refused:
            reply.refuse(refused)
            return
        self._copy(reply, answer)

    def _carry_out(self, command: int, body: bytes, memory: GuestMemory) -> Answer:
        """Carry out a command of the control queue. Errors: Refused."""
        if self.journal.has_pending and self.journal.repeats(command, body):
            # The last process carried it out, and was killed before it answered.
            return Answer()
        answer = self.commands.carry_out(command, body, memory)
        answer.record = record_of(command, body)
        return answer

    def _copy(self, reply: Reply, answer: Answer) -> None:
        """Make the copies of a command, and answer it when they are complete."""
        size = sum(copy.size for copy in answer.copies)
        if size <= INLINE_BYTES:
            watchers = sum(len(one.watchers) for one in self.scanouts) if answer.copies else 0
            self._turn_bytes += size + watchers * WATCHER_BYTES
            outcome = _run(answer.copies, wait=False)
            if not outcome.is_busy:
                self._finish(reply, answer, outcome)
                return
        else:
            outcome = Outcome()
        self._copy_on_thread(answer.copies, outcome, partial(self._finish, reply, answer))

    def _copy_on_thread(
        self, all_copies: Sequence[Copy], before: Outcome, end: Callable[[Outcome], None]
    ) -> None:
        """Make the copies that are not made yet where they may take long, or wait for a reader."""
        copies = all_copies[len(before.made) :]
        self._idle.clear()
        try:
            work = self._copier.submit(_run, copies, before, wait=True, idle=self._idle)
        except RuntimeError:  # The system has no thread to give.
            self._idle.set()
            raise
        self._copying = True
        loop, cancel = asyncio.get_running_loop(), self.commands.cancel

        def ended() -> None:
            self._copying = False
            error = work.exception()
            if error is not None:
                self.interrupt.set_fault(f"the model failed: {error!r}")
                raise error
            # After a reset the command is nobody's, even if its last row was copied.
            if self.commands.cancel is cancel:
                end(work.result())
            self.kick(CONTROLQ)

        work.add_done_callback(lambda _: _call_soon(loop, ended))

    def _finish(self, reply: Reply, answer: Answer, outcome: Outcome) -> None:
        """Tell who watches, and answer the command. One that was ended has no answer."""
        _tell(outcome)
        if outcome.why:
            response = Response.VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER
            reply.refuse(Refused(response, outcome.why, "gpu-rectangle"))
        elif len(outcome.made) == len(answer.copies):
            self.journal.note(answer.record)
            reply.finish(answer)
            self.journal.confirm(answer.record)

    def count(self, command: int, response: Response) -> None:
        """Count a command and what it was answered with."""
        key = (spec.COMMAND_NAMES.get(command, "OTHER"), spec.RESPONSE_NAMES[response])
        self.command_counts[key] = self.command_counts.get(key, 0) + 1

    def note_refusal(self, command: int, refused: Refused) -> None:
        """Log the first refusal of each kind: later ones are only counted."""
        name = spec.COMMAND_NAMES.get(command, "OTHER")
        if (name, refused.response) not in self._noted:
            self._noted.add((name, refused.response))
            log.warning(
                "a command is refused; later ones of this kind are only counted",
                command=name,
                response=refused.response.name,
                reason=refused.reason,
            )

    def queue_started(self, queue: ServedQueue) -> None:
        """Find the backings of resources in the driver's memory, which may be another one."""
        if queue.index != CONTROLQ:
            return
        self.resources.resume(queue.memory)
        due, self._due = self._due, []
        if due:
            copies = again(due, self.commands, self.cursors, self.journal, queue.memory)
            self._copy_on_thread(copies, Outcome(), _tell)

    def queue_stopped(self, index: int) -> None:
        """End the copy that is under way: the memory is the driver's again."""
        if index == CONTROLQ:
            self.commands.end_copies()
            self.resources.suspend()

    def is_stopped(self, index: int) -> bool:
        """Say whether a queue is stopped: a copy that was ended may be at its last row."""
        return super().is_stopped(index) and (index != CONTROLQ or self._idle.is_set())

    def join(self, index: int, seconds: float) -> bool:
        """Wait until a queue is stopped, at most that long; True if it is."""
        return index != CONTROLQ or self._idle.wait(seconds)

    def close(self) -> None:
        """Stop the thread that copies."""
        self.commands.end_copies()
        self._copier.shutdown()


@dataclass
class Outcome:
    """What became of the copies of a command."""

    made: Sequence[Copy] = ()
    """Those that are complete."""
    why: str = ""
    """Why another one was refused; empty if none was."""
    is_busy: bool = False
    """Somebody reads what the next one writes to."""


def _run(
    copies: Sequence[Copy],
    before: Outcome | None = None,
    *,
    wait: bool,
    idle: threading.Event | None = None,
) -> Outcome:
    """Make copies, on any thread, up to one that is refused, ended or busy; set `idle` then."""
    made = list(before.made) if before is not None else []
    outcome = Outcome(made)
    try:
        for copy in copies:
            complete = copy.run(wait=wait)
            outcome.is_busy = complete is None
            if not complete:
                break
            made.append(copy)
    except ValueError as error:  # What native code found out.
        outcome.why = str(error)
    finally:
        if idle is not None:
            idle.set()
    return outcome


def _tell(outcome: Outcome) -> None:
    """Tell who watches."""
    for copy in outcome.made:
        copy.done()


def _call_soon(loop: asyncio.AbstractEventLoop, call: object) -> None:
    """Call something on the event loop, if it still runs."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)  # type: ignore[arg-type]
