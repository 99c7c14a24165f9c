"""Guests on serial ports of a machine, for people and scripts on any host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.api.kernel.v1 import guest_pb2 as pb
from virtmesh_common.api.kernel.v1.guest_pb2_grpc import GuestServiceStub

if TYPE_CHECKING:
    from virtmesh_client.channel import KernelChannel

STATES = {
    pb.GUEST_STATE_BOOTING: "booting",
    pb.GUEST_STATE_RUNNING: "running",
    pb.GUEST_STATE_STOPPING: "stopping",
}
STOP_SECONDS = 10.0
"""How long a guest may take to power off, before it is killed."""
KILL_SECONDS = 40.0
"""How long killing or resetting a guest may take: longer than the kernel service waits for it."""


@dataclass(frozen=True)
class GuestInfo:
    """A guest whose console is a serial port of the machine.

    Example:
        with virtmesh_client.connect() as machine:
            print([guest.kind for guest in machine.guests()])
    """

    serial: str
    """The serial port that is its console."""
    kind: str
    """What it is: "uml" or "qemu"."""
    state: str
    """"booting", "running" or "stopping"."""
    pid: int
    """Its process on its host; 0 when it does not run just now."""
    runner_pid: int
    """The process that keeps it."""
    started_at: float
    """When it was started, in seconds since 1970."""
    disks: tuple[str, ...]
    inputs: tuple[str, ...]
    resets: int
    """How often it was reset."""
    detached: bool
    """True when it runs in the background."""


class Guest:
    """The guest on a serial port. Errors of all methods: GuestNotFound; DeviceNotFound."""

    def __init__(self, channel: KernelChannel, serial: str = "") -> None:
        self.serial = serial
        """The serial port; empty: the machine's console."""
        self._channel = channel
        self._stub = GuestServiceStub(channel.grpc)

    def info(self) -> GuestInfo:
        """Return what and how it is."""
        request = pb.GetGuestRequest(serial=self.serial)
        return to_info(self._channel.ask(self._stub.GetGuest, request).guest)

    def reset(self) -> GuestInfo:
        """Reset it as a reset button does: what it had not written to its disks is lost.

        It boots when this returns. Errors: GuestError; GuestTimeout; GuestBusy.
        """
        request = pb.ResetGuestRequest(serial=self.serial)
        answer = self._channel.ask(self._stub.ResetGuest, request, limit=KILL_SECONDS)
        return to_info(answer.guest)

    def stop(self, *, force: bool = False, timeout: float = STOP_SECONDS) -> bool:
        """Stop it, and wait for its end. Returns whether it had to be killed.

        It is asked to power off, and killed when it still runs after `timeout` seconds; at once
        with `force`. Errors: GuestError; GuestTimeout; GuestBusy; BadValue for a wrong time-out.
        """
        request = pb.StopGuestRequest(serial=self.serial, stop=pb.Stop(force=force))
        request.stop.timeout.FromNanoseconds(int(timeout * 1e9))
        limit = timeout + KILL_SECONDS
        return self._channel.ask(self._stub.StopGuest, request, limit=limit).killed


def list_guests(channel: KernelChannel) -> list[GuestInfo]:
    """Return the guests of a machine, by the names of their ports."""
    stub = GuestServiceStub(channel.grpc)
    return [to_info(one) for one in channel.ask(stub.ListGuests, pb.ListGuestsRequest()).guests]


def to_info(guest: pb.Guest) -> GuestInfo:
    """Return what a message says of a guest."""
    return GuestInfo(
        serial=guest.serial,
        kind=guest.kind,
        state=STATES.get(guest.state, "unknown"),
        pid=guest.pid,
        runner_pid=guest.runner_pid,
        started_at=guest.start_time.ToNanoseconds() / 1e9,
        disks=tuple(guest.disks),
        inputs=tuple(guest.inputs),
        resets=guest.resets,
        detached=guest.detached,
    )
