"""One guest whose runner is attached: what it says of itself, and what it is asked to do."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

from virtmesh.kernel.guest.console import GuestConsole
from virtmesh_common.api.kernel.v1 import guest_pb2 as pb
from virtmesh_common.errors import BadStream, GuestBusy, GuestError, GuestTimeout
from virtmesh_common.printable import printable
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from virtmesh_common.errors import VirtmeshError

KIND_MAX = 32
NAME_MAX = 255
NAMES_MAX = 64
ERROR_MAX = 1024
"""Bounds of what a runner says (guest.proto), in characters and names."""
ACTIONS_MAX = 8
"""Most actions that are under way."""


class AttachedGuest:
    """A guest that has a serial port. Errors: BadStream if what is said of it is out of bounds."""

    def __init__(self, guest: pb.Guest, serial: str, *, monitor: bool) -> None:
        self.serial = serial
        self.guest = self._checked(guest)
        self.responses: asyncio.Queue[pb.AttachGuestResponse | VirtmeshError] = asyncio.Queue()
        """Messages for the runner. An error ends the stream with it."""
        waits = "; the monitor waits until it ends" if monitor else ""
        self.console = GuestConsole(
            self.responses.put_nowait, f"[this is the console of the guest {self.kind}{waits}]"
        )
        self.finished = False
        """True when the guest has ended by itself, or on request."""
        self.gone = asyncio.Event()
        """Set when its port is free again."""
        self._numbers = count(1)
        self._actions: dict[int, asyncio.Future[pb.ActionDone]] = {}

    @property
    def kind(self) -> str:
        """What it is, for people."""
        return self.guest.kind

    @property
    def holder(self) -> str:
        """Who has the port, for a refusal."""
        runner = f" (process {self.guest.runner_pid})" if self.guest.runner_pid else ""
        return f"the guest {self.kind}{runner}"

    def take(self, message: pb.AttachGuestRequest) -> None:
        """Take a message of the runner, but for the first. Errors: BadStream."""
        match message.WhichOneof("request"):
            case "output":
                self.console.put_output(message.output)
            case "input_taken":
                self.console.note_input_taken(message.input_taken)
            case "changed":
                self.guest = self._checked(message.changed)
            case "done":
                self._note_done(message.done)
            case "finished":
                self.finished = True
                self.console.finish()
            case other:
                raise BadStream(f"{other or 'an empty message'} is not possible here")

    async def act(self, action: pb.Action, seconds: float) -> pb.ActionDone:
        """Ask the runner to do something, and wait for its end.

        Errors: GuestBusy; GuestTimeout after `seconds`; GuestError if it fails.
        """
        if len(self._actions) >= ACTIONS_MAX:
            raise GuestBusy(
                f"{self.holder} has {ACTIONS_MAX} actions under way: wait until they have ended"
            )
        action.id = next(self._numbers)
        ended: asyncio.Future[pb.ActionDone] = asyncio.get_running_loop().create_future()
        self._actions[action.id] = ended
        self.responses.put_nowait(pb.AttachGuestResponse(action=action))
        try:
            async with time_limit(seconds):
                done = await ended
        except TimeoutError:
            raise GuestTimeout(
                f"{self.holder} does not answer for {seconds:g} s: end its runner on its host"
            ) from None
        finally:
            del self._actions[action.id]
        if done.error:
            raise GuestError(printable(done.error[:ERROR_MAX]))
        return done

    def leave(self) -> None:
        """Let actions fail that the runner has not reported on: it is gone."""
        self.gone.set()
        for ended in self._actions.values():
            if not ended.done():
                ended.set_exception(GuestError(f"{self.holder} has gone before it was done"))

    def _note_done(self, done: pb.ActionDone) -> None:
        """End an action. One that nobody waits for any more is no error."""
        ended = self._actions.get(done.id)
        if ended is not None and not ended.done():
            ended.set_result(done)

    def _checked(self, guest: pb.Guest) -> pb.Guest:
        """Return a copy of what a runner says, checked, with control characters as `?`."""
        names = (*guest.disks, *guest.inputs)
        if not 0 < len(guest.kind) <= KIND_MAX:
            raise BadStream(f"a kind of guest has 1 to {KIND_MAX} characters")
        if max(len(guest.disks), len(guest.inputs)) > NAMES_MAX:
            raise BadStream(f"a guest has at most {NAMES_MAX} disks, and as many input devices")
        if any(len(name) > NAME_MAX for name in names):
            raise BadStream(f"the name of a device has at most {NAME_MAX} characters")
        return pb.Guest(
            serial=self.serial,
            kind=printable(guest.kind),
            state=guest.state,
            pid=guest.pid,
            runner_pid=guest.runner_pid,
            start_time=guest.start_time,
            disks=map(printable, guest.disks),
            inputs=map(printable, guest.inputs),
            resets=guest.resets,
            detached=guest.detached,
        )
