"""Runs a guest whose console is a serial port of the machine, until the guest ends.

The keeper carries bytes between the guest's pseudo-terminal and the kernel service, does what
people ask of the guest there (reset, stop), and starts the guest anew where that needs it. One loop
does all of it, and waits for nothing but news: a guest that does not read its console, and a port
that stands still, hold up their own bytes alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh_client.guest.console import BootDetector, GuestConsole, LineEnds
from virtmesh_client.guest.hardware import HARDWARE, Hardware
from virtmesh_client.guest.link import KernelLink
from virtmesh_client.guest.port_bytes import Input, Output
from virtmesh_client.guest.run import GuestProcess, child_of, started
from virtmesh_common.api.kernel.v1 import guest_pb2 as pb
from virtmesh_common.errors import GuestError, GuestTimeout, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.channel import KernelChannel
    from virtmesh_client.guest.plan import GuestPlan

DRAIN_SECONDS = 10.0
"""How long the last output of a guest may take to leave the port; the rest leaves later."""
KILL_SECONDS = 0.05
"""How soon a kill is tried again, while the guest has not ended."""
NO_PROCESS = GuestProcess(0, -1)
LOST_SECONDS = 60.0
"""How long a guest runs on while nothing answers at the address of its machine."""


@dataclass
class Ending:
    """How a guest has ended."""

    status: int = 0
    """Exit status, or the negative number of a signal."""
    asked: bool = False
    """True when somebody has asked it to stop."""
    error: VirtmeshError | None = None
    """Why the keeper has ended it."""


@dataclass
class Stopping:
    """A stop that is under way."""

    deadline: float
    actions: list[int] = field(default_factory=list)
    killed: bool = False


class Keeper:
    """Keeps one guest.

    `tell` gets lines about what happens. Call `attach`, `run` and `close`.
    """

    def __init__(
        self,
        plan: GuestPlan,
        channel: KernelChannel,
        console: GuestConsole,
        tell: Callable[[str], object] = lambda _line: None,
    ) -> None:
        self.ending = Ending()
        self.booted = threading.Event()
        """Set when the guest has booted for the first time, and when it has ended."""
        self.on_finished: Callable[[], object] = lambda: None
        """Called when all output has left the port, before the monitor has that again."""
        self._plan = plan
        self._console = console
        self._tell = tell
        self._hardware: Hardware = HARDWARE[plan.kind](plan.folder)
        self._guest = pb.Guest(
            serial=plan.serial,
            kind=plan.kind,
            state=pb.GUEST_STATE_BOOTING,
            runner_pid=os.getpid(),
            disks=plan.disks,
            inputs=plan.inputs,
            detached=plan.detached,
        )
        self._guest.start_time.GetCurrentTime()
        self._link = KernelLink(channel, self._describe)
        self._output = Output(self._link.send)
        self._input = Input(self._link.send, self._write)
        self._life = contextlib.ExitStack()
        self._process = NO_PROCESS
        self._boot = BootDetector(self._note_booted)
        self._mend = LineEnds()
        self._stopping: Stopping | None = None
        self._resets: list[int] = []
        """Resets that wait for the end of the guest, after which it is started anew."""
        self._killing = False
        self._finished = False
        self._interrupted = False
        self._over = False
        """True when the machine of the guest has ended."""
        self._lost_at: float | None = None
        self._give_up_at = None if plan.timeout is None else time.monotonic() + plan.timeout

    def attach(self) -> str:
        """Get the serial port; returns its name. Errors: of AttachGuest; ServiceUnavailable."""
        os.set_blocking(self._console.master, False)
        try:
            return self._link.open()
        except BaseException:
            self._link.close()
            raise

    def run(self) -> None:
        """Run the guest to its end; `ending` says how it ended. Call `attach` first."""
        try:
            self._start()
            while self._alive():
                self._step()
            self._finish()
        finally:
            self.close()

    @property
    def is_up(self) -> bool:
        """True while the guest has booted and runs."""
        return self._guest.state == pb.GUEST_STATE_RUNNING and self._process is not NO_PROCESS

    def close(self) -> None:
        """End the guest, and give the port back."""
        self._life.close()
        self._link.close()
        self.booted.set()

    def interrupt(self, error: VirtmeshError | None = None) -> None:
        """Kill the guest, perhaps because of an error. Any thread may call this."""
        self.ending.error = self.ending.error or error
        self._interrupted = True
        self._link.nudge()

    def _describe(self) -> pb.Guest:
        """Return a copy of what is said of the guest."""
        copy = pb.Guest()
        copy.CopyFrom(self._guest)
        return copy

    def _changed(self) -> None:
        """Tell the kernel service what the guest is now."""
        self._link.send(pb.AttachGuestRequest(changed=self._describe()))

    def _start(self) -> None:
        """Start the guest."""
        command = [*self._plan.command, *self._hardware.options()]
        self._process = self._life.enter_context(started(command, self._console, ()))
        self._guest.pid = 0
        self._booting()

    def _booting(self) -> None:
        """Note that the guest boots."""
        self._boot = BootDetector(self._note_booted)
        self._guest.state = pb.GUEST_STATE_BOOTING
        self._changed()

    def _note_booted(self) -> None:
        """Note that the guest is up."""
        self._guest.state = pb.GUEST_STATE_RUNNING
        self._changed()
        self._tell(f"the guest {self._plan.kind} has booted")
        self.booted.set()

    def _alive(self) -> bool:
        """Return whether the guest runs; one that is being reset is started anew."""
        if not select.select([self._process.handle], [], [], 0)[0]:
            return True
        self._life.close()
        self.ending.status = self._process.status
        self._process = NO_PROCESS
        self._killing = False
        if not self._resets or self._interrupted or self.ending.error:
            return False
        actions, self._resets = self._resets, []
        self._start()
        for action in actions:
            self._done(action)
        return True

    def _step(self, until: float | None = None) -> None:
        """Wait for news, but not beyond a time, and deal with it."""
        master = self._console.master
        poll = select.poll()
        poll.register(self._link.handle, select.POLLIN)
        if self._process is not NO_PROCESS:
            poll.register(self._process.handle, select.POLLIN)
        wanted = select.POLLIN * bool(self._output.room) | select.POLLOUT * bool(self._input)
        if wanted:
            poll.register(master, wanted)
        ready = dict(poll.poll(self._milliseconds(until))).get(master, 0)
        self._take_news()
        self._keep_time()
        if ready & select.POLLOUT and self._input:
            with contextlib.suppress(BlockingIOError):
                self._input.step()
        if ready & select.POLLIN and self._output.room:
            self._read()

    def _read(self) -> bool:
        """Take output of the guest. Returns whether there was some."""
        try:
            # Line ends may grow to twice their size.
            data = os.read(self._console.master, (self._output.room + 1) // 2)
        except BlockingIOError:
            return False
        if not self._guest.pid and self._process is not NO_PROCESS:
            self._guest.pid = child_of(self._process.pid)
            self._changed()
        if not self._boot.up:
            # From here on bytes pass as they are: they may be no text.
            data = self._mend(data)
            self._boot(data)
        self._output.put(data)
        return True

    def _write(self, data: bytes) -> int:
        """Write to the guest's console. Errors: BlockingIOError."""
        return os.write(self._console.master, data)

    def _milliseconds(self, until: float | None) -> float | None:
        """Return how long to wait for news, at most."""
        times = [until, self._give_up_at]
        if self._stopping and not self._stopping.killed:
            times.append(self._stopping.deadline)
        if self._lost_at is not None:
            times.append(self._lost_at + LOST_SECONDS)
        if self._killing:
            times.append(time.monotonic() + KILL_SECONDS)
        left = [one - time.monotonic() for one in times if one is not None]
        return max(0.0, min(left)) * 1000 + 1 if left else None

    def _keep_time(self) -> None:
        """Kill a guest that has had its time."""
        now = time.monotonic()
        if self._interrupted or self._killing:
            self._kill()
        if self._stopping and now >= self._stopping.deadline:
            self._stopping.killed = True
            self._kill()
        if self._give_up_at is not None and now >= self._give_up_at:
            self._end(
                GuestTimeout(
                    f"the guest still ran after {self._plan.timeout:g} s and was stopped: allow"
                    " more with --timeout"
                )
            )
        if self._lost_at is not None and now >= self._lost_at + LOST_SECONDS:
            self._end(
                GuestError(
                    f"the machine was gone for {LOST_SECONDS:g} s, and the guest was stopped"
                )
            )

    def _end(self, error: VirtmeshError) -> None:
        """Kill the guest because of an error."""
        self.ending.error = self.ending.error or error
        self._give_up_at = self._lost_at = None
        self._kill()

    def _kill(self) -> None:
        """Kill the guest, as soon as its reaper has started it. The reaper ends what is left.

        All of its process group is killed at once: the processes of user-mode Linux that it traces
        would run on without it, and make their system calls on the host.
        """
        if self._process is NO_PROCESS:
            return
        self._killing = True
        if pid := child_of(self._process.pid):
            # Before the reaper has started the guest's program, the group does not exist.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _take_news(self) -> None:
        """Deal with what the kernel service has said."""
        for news in self._link.take():
            if isinstance(news, VirtmeshError):
                self._lost(news)
            else:
                self._take(news)

    def _lost(self, error: VirtmeshError) -> None:
        """Hold everything until there is another stream; end the guest when there will be none."""
        self._output.lost()
        self._input.lost()
        if isinstance(error, GuestError):
            self._over = True
            self._end(error)
            return
        self._lost_at = self._lost_at or time.monotonic()
        self._tell(f"the machine is gone, waiting for it: {error.message}")

    def _take(self, message: pb.AttachGuestResponse) -> None:
        """Deal with one message."""
        match message.WhichOneof("response"):
            case "attached":
                self._lost_at = None
                self._output.attached()
                self._tell(f"the console of the guest is {message.attached.serial}")
            case "input":
                self._input.put(self._hardware.encode(message.input), len(message.input))
            case "line_break":
                self._input.put(self._hardware.line_break(), 1)
            case "output_taken":
                self._output.taken(message.output_taken)
            case "action":
                self._act(message.action)
            case "finished":
                self._finished = True

    def _act(self, action: pb.Action) -> None:
        """Begin an action."""
        self._tell(f"asked to {action.WhichOneof('action')} the guest")
        try:
            if action.WhichOneof("action") == "reset":
                self._reset(action.id)
            else:
                self._stop(action.id, action.stop)
        except GuestError as error:
            self._tell(error.message)
            self._done(action.id, error=error.message)

    def _reset(self, action: int) -> None:
        """Reset the guest. Errors: GuestError."""
        if self._stopping:
            raise GuestError("the guest is stopping: wait until it has stopped, and start it anew")
        if self._hardware.press_reset():
            self._guest.resets += 1
            self._booting()
            self._done(action)
            return
        self._guest.resets += 1
        self._resets.append(action)
        self._kill()

    def _stop(self, action: int, how: pb.Stop) -> None:
        """Stop the guest: ask it to power off, or kill it. Errors: GuestError."""
        seconds = 0.0 if how.force else how.timeout.ToNanoseconds() / 1e9
        deadline = time.monotonic() + seconds
        if self._stopping is None:
            self._stopping = Stopping(deadline)
        self._stopping.actions.append(action)
        self._stopping.deadline = min(self._stopping.deadline, deadline)
        self.ending.asked = True
        self._guest.state = pb.GUEST_STATE_STOPPING
        self._changed()
        if seconds:
            try:
                self._hardware.press_power()
            except GuestError as error:
                self._tell(f"it can't be asked to power off, and is killed: {error.message}")
                self._stopping.deadline = time.monotonic()

    def _done(self, action: int, *, error: str = "", killed: bool = False) -> None:
        """Report the end of an action."""
        done = pb.ActionDone(id=action, error=error, killed=killed)
        self._link.send(pb.AttachGuestRequest(done=done))

    def _finish(self) -> None:
        """Send the rest of the output, and give the port back."""
        self._guest.pid = 0
        if self._stopping:
            for action in self._stopping.actions:
                self._done(action, killed=self._stopping.killed)
        self._stopping = self._give_up_at = self._lost_at = None
        until = time.monotonic() + (0 if self._over else DRAIN_SECONDS)
        while time.monotonic() < until:
            more = bool(self._output.room) and self._read()
            if not more and not self._output:
                break
            if not more:
                self._step(until)
        self._link.send(pb.AttachGuestRequest(finished=pb.Finished()))
        while not self._finished and time.monotonic() < until:
            self._step(until)
        self.on_finished()
