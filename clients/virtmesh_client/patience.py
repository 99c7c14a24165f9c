"""Patience with a kernel service that is away: what is repeated, for how long, and what is not.

A call that only reads is repeated, and so is one whose repetition leaves the machine as the first
one left it (`REPEATED`). Of any other it is said whether it was done: not at all, where the request
never left this process; otherwise that is not known.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from virtmesh_client.local import rundir
from virtmesh_common.errors import (
    CallCancelled,
    DeviceLost,
    DeviceNotReady,
    ServiceUnavailable,
    ShuttingDown,
    VirtmeshError,
)
from virtmesh_common.retry import check_retry
from virtmesh_common.security.roles import find_access

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.25
GROWTH = 1.5
"""Pauses between two tries. gRPC itself connects again after 0.1 to 1 s."""
SETTLE_SECONDS = 10.0
"""For so long after a kernel service was lost, a device that is not ready yet may be on its way."""
UNSENT = "failed to connect to all addresses"
"""What gRPC says of a call that found no connection to leave by."""
DONE = "done"
"""Metadata of an error by the loss of the kernel service: "no", or "unknown"."""

REPEATED = frozenset(
    {
        # The same bytes at the same place, or the same state of a range.
        "/virtmesh.kernel.v1.BlockDeviceService/Write",
        "/virtmesh.kernel.v1.BlockDeviceService/Import",
        "/virtmesh.kernel.v1.BlockDeviceService/WriteZeroes",
        "/virtmesh.kernel.v1.BlockDeviceService/Discard",
        "/virtmesh.kernel.v1.BlockDeviceService/Flush",
        "/virtmesh.block.v1.BlockAdminService/Flush",
        # The same value of the same switch.
        "/virtmesh.block.v1.BlockAdminService/SetReadOnly",
        "/virtmesh.kernel.v1.InputDeviceService/SetLed",
        "/virtmesh.display.v1.DisplayService/SetMode",
        "/virtmesh.uart.v1.UartService/SetLines",
    }
)
"""Methods that change something, and may be carried out twice."""


def may_repeat(request: Any) -> bool:
    """Say whether a call with this request may be carried out twice.

    Each method has a request of its own: this names the method.
    """
    return _may_repeat(request.DESCRIPTOR)


@functools.cache
def _may_repeat(request: Any) -> bool:
    methods = [
        f"/{service.full_name}/{method.name}"
        for service in request.file.services_by_name.values()
        for method in service.methods
        if method.input_type is request
    ]
    return bool(methods) and all(
        method in REPEATED or not find_access(method).changes for method in methods
    )


class Presence:
    """What a connection knows of the kernel service at its address. Any thread may use it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.lost_at: float | None = None
        """When it was seen to be lost, by the steady clock; None while it is there."""
        self._answered = False
        self._supervised = False
        self._back_at = -math.inf

    def note_answer(self, begun: float) -> None:
        """Take note that it answers a call that was begun then, by the steady clock.

        What comes of a call that was begun before a loss is from before the loss.
        """
        if not self._answered:
            self._supervised = rundir.of_address(self.address) is not None
            self._answered = True
        if self.lost_at is not None and begun > self.lost_at:
            self.lost_at, self._back_at = None, time.monotonic()

    def note(self, error: VirtmeshError) -> None:
        """Take note of what a call failed with."""
        if self.is_loss(error):
            self.lost_at = self.lost_at or time.monotonic()

    def is_loss(self, error: VirtmeshError) -> bool:
        """Say whether an error means that the kernel service has gone, or is about to."""
        at = error.metadata.get("address")
        if isinstance(error, ShuttingDown) or (
            isinstance(error, CallCancelled) and at == self.address
        ):
            # One that stops says so, or ends calls. Without a supervisor that is the end.
            return self._supervised or rundir.of_address(self.address) is not None
        return isinstance(error, ServiceUnavailable) and at == self.address

    @property
    def is_settling(self) -> bool:
        """Whether it may still be finding its devices again."""
        return time.monotonic() - self._back_at < SETTLE_SECONDS

    @property
    def is_awaited(self) -> bool:
        """Whether it is to be expected back.

        Where a supervisor runs, it says so. Elsewhere one that has answered is; but not one that
        has taken its own socket away: it was stopped, not killed.
        """
        state = rundir.of_address(self.address)
        if state is not None:
            kernel = next((one for one in state.processes if one.kind in rundir.KERNELS), None)
            return state.status == "ready" and kernel is not None and not kernel.held
        if self._supervised or not self._answered:
            return False
        kind, _, path = self.address.partition(":")
        return kind != "unix" or Path(path.removeprefix("//")).exists()


class Cancelled(Protocol):
    """What can be cancelled with the call that waits."""

    def cancel(self) -> object:
        """Cancel it."""


class Channel(Protocol):
    """The connection that is waited for."""

    presence: Presence
    retry_for: float

    def running(self, call: Cancelled) -> AbstractContextManager[None]:
        """Let `call` be cancelled while the body runs."""


class Pause:
    """A pause that another thread can end."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def cancel(self) -> None:
        """End it."""
        self._ended.set()

    def wait(self, seconds: float) -> bool:
        """Wait so long; True when it was ended."""
        return self._ended.wait(seconds)


class Patience:
    """How long one call, or one stream, goes on waiting for the kernel service.

    `retry_for` counts from each loss on, in seconds; None: as the connection says; 0: not at all.
    Errors: ValueError.
    """

    def __init__(self, channel: Channel, retry_for: float | None = None) -> None:
        self._channel = channel
        self._retry_for = check_retry(channel.retry_for if retry_for is None else retry_for)
        self._since: float | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self.losses = 0
        """How often the kernel service was lost."""

    def renew(self) -> None:
        """Begin anew: there was an answer."""
        self._since, self._pause = None, FIRST_PAUSE_SECONDS

    def bear(self, error: VirtmeshError, *, repeats: bool = True) -> None:
        """Wait a moment, if what failed is to be tried again. Errors: `error`, if it is not.

        `repeats` says that it may be carried out twice.
        """
        presence = self._channel.presence
        lost = presence.is_loss(error)
        unsent = error.metadata.get(DONE) == "no"
        if lost and not (repeats or unsent):
            raise said(error, "whether this was done is not known")
        if not (self._retry_for and (lost or self._may_settle(error, repeats=repeats))):
            raise error
        now = time.monotonic()
        if self._since is None:
            self._since, self.losses = now, self.losses + lost
        left = self._since + self._retry_for - now
        if left <= 0:
            raise said(error, f"it was waited for, for {self._retry_for:g} s")
        if lost and not presence.is_awaited:
            raise error
        self._wait(min(self._pause, left))
        self._pause = min(self._pause * GROWTH, LONGEST_PAUSE_SECONDS)

    def _may_settle(self, error: VirtmeshError, *, repeats: bool) -> bool:
        """Say whether a device may be away only because its kernel service was.

        A device that is not ready has done nothing; one that was lost may have done all of it.
        """
        on_its_way = isinstance(error, DeviceNotReady) or (
            repeats and isinstance(error, DeviceLost)
        )
        return on_its_way and (self._since is not None or self._channel.presence.is_settling)

    def _wait(self, seconds: float) -> None:
        """Wait so long. Errors: VirtmeshError when the call is cancelled."""
        pause = Pause()
        with self._channel.running(pause):
            if pause.wait(seconds):
                raise VirtmeshError("the call was cancelled")


def said(error: VirtmeshError, what: str) -> VirtmeshError:
    """Return an error that says so as well."""
    error.message = f"{error.message}; {what}"
    error.args = (error.message,)
    return error
