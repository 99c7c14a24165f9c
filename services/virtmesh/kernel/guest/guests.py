"""The serial ports of a machine, and the guests that have them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh.kernel.guest.attached import AttachedGuest
from virtmesh.kernel.monitor import Monitor
from virtmesh.kernel.port_switch import PortSwitch
from virtmesh.kinds import kind_of
from virtmesh.kinds.service import wrong_kind
from virtmesh.rpc.caller import touch
from virtmesh_common.errors import ConsoleTaken, DeviceNotFound, GuestNotFound, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.kernel.device import MachineDevice
    from virtmesh.kernel.kernel import Kernel
    from virtmesh_common.api.kernel.v1 import guest_pb2 as pb


class Guests:
    """Serial ports by name, and one guest for each. The monitor is at home on the console."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._console = kernel.machine.console
        self._ports = {
            name: PortSwitch(
                device, kernel.boot_log, Monitor(kernel) if name == self._console else None
            )
            for name, device in kernel.devices.items()
            if name == self._console or is_port(device)
        }
        self._guests: dict[str, AttachedGuest] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def machine(self) -> str:
        """Name of the machine."""
        return self._kernel.machine.name

    def start(self) -> None:
        """Begin to serve the ports."""
        self._tasks = [
            asyncio.create_task(port.run(), name=f"port {name}")
            for name, port in self._ports.items()
        ]

    async def stop(self) -> None:
        """Leave the ports."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def end_streams(self) -> None:
        """End the streams of the runners, which have no end of their own: the kernel stops."""
        for guest in self._guests.values():
            guest.responses.put_nowait(ShuttingDown("the kernel service is stopping"))

    def attach(self, said: pb.Guest) -> AttachedGuest:
        """Give a port to a guest.

        Errors: DeviceNotFound; WrongKind; ConsoleTaken; BadStream.
        """
        serial = self._name(said.serial)
        port = self._ports.get(serial)
        if port is None:
            raise wrong_kind(serial, self._kernel.device(serial).driver, "serial port")
        if serial in self._guests:
            holder = self._guests[serial].holder
            raise ConsoleTaken(
                f"{holder} has {serial}: stop it (`virtmesh guest stop`), or give this guest"
                " another port with --serial",
                holder=holder,
            )
        guest = AttachedGuest(said, serial, monitor=port.has_resident)
        self._guests[serial] = guest
        self._kernel.boot_log.add(f"{serial}: {guest.holder} has the port")
        port.lend(guest.console)
        return guest

    def detach(self, guest: AttachedGuest) -> None:
        """Take the port of a guest back."""
        del self._guests[guest.serial]
        guest.leave()
        how = "has ended" if guest.finished else "is gone"
        port = self._ports[guest.serial]
        monitor = "; the monitor has the port again" if port.has_resident else ""
        self._kernel.boot_log.add(f"{guest.serial}: {guest.holder} {how}{monitor}")
        port.take_back()

    def all(self) -> Sequence[AttachedGuest]:
        """Return the guests, by the names of their ports."""
        return [self._guests[name] for name in sorted(self._guests)]

    def find(self, serial: str) -> AttachedGuest:
        """Return the guest that has a port. Errors: GuestNotFound; DeviceNotFound."""
        name = self._name(serial)
        self._kernel.device(name)
        if name not in self._guests:
            raise GuestNotFound(f"no guest has {name}: `virtmesh guest uml` or `qemu` starts one")
        return self._guests[name]

    def _name(self, serial: str) -> str:
        """Return the name of a port, which the call is about. Errors: DeviceNotFound."""
        name = serial or self._console
        if not name:
            raise DeviceNotFound(f"{self._kernel.machine.name} has no serial port")
        touch(name)
        return self._kernel.device(name).node.name


def is_port(device: MachineDevice) -> bool:
    """Return whether a device is a serial port, before it has a driver: see `Tty`."""
    kind = kind_of(device.node.compatible, device.device_id)
    return kind is not None and hasattr(kind.driver, "set_kernel_queue")
