"""Watching whether the processes of a machine answer, and saying since when one does not.

A look reads one small file of /proc. A service is asked (grpc.health.v1.Health.Check, which no
budget refuses) when the thread of its event loop has worked since the last look, when a signal has
stopped it, and at each IDLE_LOOKS-th look: so a busy one has a call each second, one that seems
idle each few seconds, since it may be stuck in a lock or a read. Where the host's kernel says that
the thread waits for events, it hears what comes: it is asked at each WAITING_LOOKS-th look only.
There is one call at a time for each.

Silence is counted in looks, not in time: a host that sleeps, or a supervisor that was stopped
itself, makes nobody silent.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from virtmesh.local.readiness import REQUEST_ID
from virtmesh.machine import WatchdogPolicy
from virtmesh_common.channel import open_sync_channel
from virtmesh_common.kernel_file import read_kernel_file
from virtmesh_common.request_id import REQUEST_ID_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.local.child import Child

LOOK_SECONDS = 1.0
"""Between two looks at a process."""
IDLE_LOOKS = 5
"""A process whose event loop does nothing is asked at one look of so many."""
WAITING_LOOKS = 30
"""One whose event loop waits for events is asked at one of so many: a multiple of IDLE_LOOKS."""
SILENT_LOOKS = 3
"""After so many looks in a row without an answer a process is silent."""
KILL_LOOKS = 10
"""After so many it is killed, if its policy is to restart it."""
CALL_SECONDS = 30.0
"""How long one call may wait: a process that was stopped answers it when it goes on."""
UNANSWERED = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
"""What a call ends with that the service has not answered."""
WAITS = (b"do_epoll_wait", b"ep_poll")
"""Begins of what functions of Linux are called in which a thread waits for events."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STOPPED, TRACED, UNINTERRUPTIBLE, RUNNING = "T", "t", "D", "R"
"""States of a process (proc_pid_stat(5))."""
BUSY_PART = 0.5
"""A loop that takes at least such a part of a processor is busy."""


@dataclass(frozen=True)
class Seen:
    """What /proc says of the main thread of a process, which has its event loop."""

    state: str
    seconds: float
    """Processor time that it has used."""

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Look at a process; None if it has ended."""
        try:
            text = read_kernel_file(f"/proc/{pid}/task/{pid}/stat").decode("ascii", "replace")
        except OSError:
            return None
        # The name, field 2, may contain any character. The state follows its last parenthesis.
        fields = text[text.rindex(")") + 2 :].split()
        ticks = int(fields[11]) + int(fields[12])
        return cls(fields[0], ticks / TICKS_PER_S)

    @staticmethod
    def waits(pid: int) -> bool:
        """Say whether it waits for events; False where the host's kernel does not tell."""
        try:
            return read_kernel_file(f"/proc/{pid}/task/{pid}/wchan").startswith(WAITS)
        except OSError:
            return False

    def why(self, before: Seen) -> str:
        """Say why it may not answer, from this look and the one before."""
        if self.state == STOPPED:
            return "a signal has stopped its process; SIGCONT lets it go on"
        if self.state == TRACED:
            return "a debugger holds its process"
        if self.state == UNINTERRUPTIBLE:
            return "its process waits inside of the host's kernel, for storage most likely"
        part = (self.seconds - before.seconds) / LOOK_SECONDS
        if part >= BUSY_PART or self.state == RUNNING:  # it may get little of a busy host
            return f"its event loop is busy, and takes {min(part, 1):.0%} of a processor"
        return "its event loop waits for something else"


class Call:
    """One call of the health service of a process."""

    def __init__(self, stub: health_pb2_grpc.HealthStub) -> None:
        self._future = stub.Check.future(
            health_pb2.HealthCheckRequest(),
            timeout=CALL_SECONDS,
            metadata=((REQUEST_ID_KEY, REQUEST_ID),),
        )

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return bool(self._future.done())

    @property
    def is_answered(self) -> bool:
        """Whether it has ended with an answer of the service: a refusal is one as well."""
        return self.is_done and cast("grpc.Call", self._future).code() not in UNANSWERED

    def cancel(self) -> None:
        """Give it up."""
        self._future.cancel()


class Watch:
    """What is known of one process."""

    def __init__(self, child: Child, address: str, tell: Callable[[str, Child], None]) -> None:
        """Watch the service at `address`. `tell` takes what happened, and about whom."""
        self.child = child
        self._channel = open_sync_channel(address)
        self._stub = health_pb2_grpc.HealthStub(self._channel)
        self._tell = tell
        self._begin()

    def _begin(self) -> None:
        """Know nothing: the process is a new one."""
        self._starts = self.child.starts
        self._seen: Seen | None = None
        self._call: Call | None = None
        self.has_answered = False
        """It has answered since its start."""
        self._is_killed = False
        self._missed = 0
        """Looks in a row without an answer."""
        self._looks = 0
        """Looks since it was asked last."""
        self._since = time.monotonic()
        """When it answered last, or was started."""

    @property
    def is_asking(self) -> bool:
        """Whether a call is under way."""
        return self._call is not None and not self._call.is_done

    def look(self) -> None:
        """Look once. The process is killed where that is the policy."""
        if self.child.starts != self._starts:
            self._drop()
            self._begin()
        now = None if self.child.is_ending else Seen.of(self.child.pid)
        if now is None:
            return  # its keeper knows that it ends
        before, self._seen = self._seen or now, now
        is_stopped = now.state in {STOPPED, TRACED}
        self._take_answer(is_stopped=is_stopped)
        self._looks += 1
        is_due = is_stopped or now.seconds > before.seconds or self._is_long_ago()
        if self._call is None and (is_due or self._missed or not self.has_answered):
            self._call = Call(self._stub)
            self._looks = 0
        self._judge(now, before)

    def _is_long_ago(self) -> bool:
        """Say whether it is to be asked though it does nothing."""
        if self._looks >= WAITING_LOOKS:
            return True
        return self._looks % IDLE_LOOKS == 0 and not Seen.waits(self.child.pid)

    def _take_answer(self, *, is_stopped: bool) -> None:
        """Take an answer, or count a look without one."""
        call = self._call
        if call is not None and call.is_done:
            self._call = None
            if call.is_answered:
                self._note_answer()
                return
        # What has never answered is being started: its kernel says how far it is.
        if is_stopped or (call is not None and self.has_answered):
            self._missed += 1

    def _note_answer(self) -> None:
        """Note an answer."""
        self._missed = 0
        self.has_answered, self._since = True, time.monotonic()
        if self.child.silent:
            self.child.note_answer()
            self._tell("answers", self.child)

    def _judge(self, now: Seen, before: Seen) -> None:
        """Say that it is silent, and kill it where that is wanted. A debugger keeps its process."""
        if self._missed == SILENT_LOOKS and not self.child.silent:
            ago = timedelta(seconds=time.monotonic() - self._since)
            since = (datetime.now(UTC) - ago).isoformat(timespec="seconds")
            self.child.note_silence(f"since {since}: {now.why(before)}", self._since)
            self._tell("silent", self.child)
        is_wanted = self.child.command.watchdog is WatchdogPolicy.RESTART and now.state != TRACED
        if is_wanted and self._missed >= KILL_LOOKS and not self._is_killed:
            self._is_killed = True
            self._tell("killed", self.child)
            self.child.kill()

    def _drop(self) -> None:
        """Give the call up."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def close(self) -> None:
        """End it."""
        self._drop()
        self._channel.close()


async def watch(watches: Sequence[Watch]) -> None:
    """Look at processes until cancelled."""
    try:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for one in watches:
                one.look()
    finally:
        for one in watches:
            one.close()
