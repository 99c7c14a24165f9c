"""A machine, with blocking calls: its devices, reached through the address of its kernel.

Each kind of device is imported when one of it is asked for: most scripts and commands use one kind.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from virtmesh_client.address import find_address
from virtmesh_client.channel import KernelChannel
from virtmesh_client.models import (
    SERIAL_TIMEOUT_SECONDS,
    DeviceDescription,
    DeviceInfo,
    NodeInfo,
)
from virtmesh_client.retry import RETRY_SECONDS
from virtmesh_common.api.kernel.v1 import kernel_pb2, kernel_pb2_grpc
from virtmesh_common.channel import KEEPALIVE_SECONDS
from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from virtmesh_client.blk.disk import Disk
    from virtmesh_client.cpu.control import Cpu
    from virtmesh_client.fault import Faults
    from virtmesh_client.guests.control import Guest, GuestInfo
    from virtmesh_client.input.device import Input
    from virtmesh_client.input.models import Overflow
    from virtmesh_client.report import Report
    from virtmesh_client.screen.screen import Screen
    from virtmesh_client.security.credentials import Credentials
    from virtmesh_client.serial.device import Serial
    from virtmesh_client.serial.models import Position
    from virtmesh_common.interface import Interface

STATES = {
    kernel_pb2.PROBE_STATE_WAITING: "waiting",
    kernel_pb2.PROBE_STATE_PROBING: "probing",
    kernel_pb2.PROBE_STATE_READY: "ready",
    kernel_pb2.PROBE_STATE_FAILED: "failed",
    kernel_pb2.PROBE_STATE_RESERVED: "reserved",
    kernel_pb2.PROBE_STATE_SILENT: "silent",
    kernel_pb2.PROBE_STATE_DETACHED: "detached",
}
FATES = {
    kernel_pb2.NODE_FATE_DRIVEN: "driven",
    kernel_pb2.NODE_FATE_RESERVED: "reserved",
    kernel_pb2.NODE_FATE_DISABLED: "disabled",
    kernel_pb2.NODE_FATE_UNBOUND: "unbound",
    kernel_pb2.NODE_FATE_READ: "read",
    kernel_pb2.NODE_FATE_NOT_UNDERSTOOD: "not understood",
}


class Machine:
    """A connection to a machine. Several threads may use it. Close it, or use it in a `with`.

    Example:
        with virtmesh_client.connect() as machine:
            for device in machine.devices():
                print(device.name, device.state)
    """

    def __init__(  # noqa: PLR0913 - each has a name
        self,
        address: str,
        *,
        timeout: float | None = None,
        request_id: str = "",
        proxy: bool = True,
        keepalive: float = KEEPALIVE_SECONDS,
        credentials: Credentials | None = None,
        insecure: bool = False,
        retry_for: float = RETRY_SECONDS,
    ) -> None:
        self._channel = KernelChannel(
            address,
            timeout=timeout,
            request_id=request_id,
            proxy=proxy,
            keepalive=keepalive,
            credentials=credentials,
            insecure=insecure,
            retry_for=retry_for,
        )
        self._kernel = kernel_pb2_grpc.KernelServiceStub(self._channel.grpc)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Address of the kernel service."""
        return self._channel.address

    @property
    def channel(self) -> KernelChannel:
        """The connection, for functions outside this class, such as those of trace."""
        return self._channel

    @property
    def name(self) -> str:
        """Name of the machine. Errors: ServiceUnavailable."""
        return self._list().machine

    def nodes(self) -> list[NodeInfo]:
        """Return every node of the device tree, in its order. Errors: ServiceUnavailable.

        Of a very large tree the end is left out.
        """
        response = self._channel.ask(self._kernel.ListNodes, kernel_pb2.ListNodesRequest())
        return [
            NodeInfo(
                path=node.path,
                compatible=node.compatible,
                fate=FATES.get(node.fate, "unknown"),
                detail=node.detail,
                device=node.device,
                mmio_address=node.mmio_address if node.HasField("mmio_address") else None,
            )
            for node in response.nodes
        ]

    def devices(self) -> list[DeviceInfo]:
        """Return the devices in ascending order of their addresses. Errors: ServiceUnavailable."""
        return [
            DeviceInfo(
                name=device.name,
                state=STATES.get(device.state, "unknown"),
                detail=device.detail,
                compatible=device.compatible,
                mmio_address=device.mmio_address,
                irq=device.irq,
                virtio_device_id=device.virtio_device_id,
                driver=device.driver,
                features=tuple(device.features),
                doorbell=device.doorbell,
                interrupts=device.interrupts,
                requests=device.requests,
                endpoint=device.endpoint,
                vhost_user_socket=device.vhost_user_socket,
            )
            for device in self._list().devices
        ]

    def warnings(self) -> list[str]:
        """Return what should not stay as it is, such as an address that is open to anyone.

        Errors: ServiceUnavailable.
        """
        return [printable(text) for text in self._list().warnings]

    def interface(self, name: str) -> Interface:
        """Return how a device describes itself: registers, requests, features, metrics, figures.

        It works for devices of any kind. Errors: DeviceNotFound, DeviceLost, BadInterface.
        """
        from virtmesh_client.interface import read_interface

        return read_interface(self._channel, name)

    def description(self, name: str) -> DeviceDescription:
        """Return what a device is: window, queues, offered features, properties.

        Errors: DeviceNotFound, DeviceLost.
        """
        from virtmesh_client.interface import read_description

        return read_description(self._channel, name)

    def cpu(self) -> Cpu:
        """Return the CPU. Its first call raises NotOffered if the machine has none."""
        from virtmesh_client.cpu.control import Cpu

        return Cpu(self._channel)

    def report(self, name: str) -> Report:
        """Return which statements of its specification the driver of a device broke.

        Errors: DeviceNotFound, DeviceLost.
        """
        from virtmesh_client.report import read_report

        return read_report(self._channel, name)

    def faults(self, name: str) -> Faults:
        """Return the faults that were ordered of a device, to add some and to take some back."""
        from virtmesh_client.fault import Faults

        return Faults(self._channel, name)

    def metrics(self, device: str = "") -> str:
        """Return what the machine measures: the page that Prometheus scrapes.

        With `device` it is what that device says itself. Of a machine, devices that do not answer
        in time are left out, and virtmesh_machine_device_up says which those are.
        Errors: DeviceNotFound, DeviceLost.
        """
        from virtmesh_client.metrics_page import read_page

        return read_page(self._channel, device)

    def disk(self, name: str) -> Disk:
        """Return a disk. Its first call raises DeviceNotFound if there is no such disk."""
        from virtmesh_client.blk.disk import Disk

        return Disk(self._channel, name)

    def input(
        self, name: str, *, overflow: Overflow = "wait", timeout: float | None = None
    ) -> Input:
        """Return an input device with an injector of its own. Close it, or use it in a `with`.

        Its first call raises DeviceNotFound if there is no such device. `Input` explains `overflow`
        and `timeout`.
        """
        from virtmesh_client.input.device import Input

        return Input(self._channel, name, overflow=overflow, timeout=timeout)

    def screen(self, name: str) -> Screen:
        """Return the screens of a GPU. Their first call raises DeviceNotFound if there is none."""
        from virtmesh_client.screen.screen import Screen

        return Screen(self._channel, name)

    def serial(
        self,
        name: str = "serial",
        *,
        tail: int = 0,
        since: Position | None = None,
        timeout: float | None = SERIAL_TIMEOUT_SECONDS,
    ) -> Serial:
        """Return a serial port with a terminal of its own. Close it, or use it in a `with`.

        The terminal receives the output from its connection on. With `tail` it also receives so
        many bytes of earlier output; with `since` it begins at that position. `Serial` explains
        `timeout`.
        """
        from virtmesh_client.serial.device import Serial

        return Serial(self._channel, name, tail=tail, since=since, timeout=timeout)

    def guests(self) -> list[GuestInfo]:
        """Return the Linux guests whose consoles are serial ports of the machine."""
        from virtmesh_client.guests.control import list_guests

        return list_guests(self._channel)

    def guest(self, serial: str = "") -> Guest:
        """Return the guest on a serial port; without a name, the one on the machine's console.

        Its first call raises GuestNotFound if there is none.
        """
        from virtmesh_client.guests.control import Guest

        return Guest(self._channel, serial)

    def reset(self, name: str) -> str:
        """Have the kernel give a device back and bring it up anew; return its state then.

        Requests in flight fail with DeviceLost. A state other than "ready" means that it could not.
        Errors: DeviceNotFound; NotOffered when a guest drives the device.
        """
        request = kernel_pb2.ResetDeviceRequest(device=name)
        return STATES.get(self._channel.ask(self._kernel.ResetDevice, request).state, "unknown")

    def restart(self, name: str) -> str:
        """Have the process of a device ended and started anew; return the device's state then.

        One that is held, since it died again and again, is brought back. A state other than "ready"
        ("reserved" of a device that a guest drives) means that the kernel could not use it.
        Errors: DeviceNotFound; NotSupervised when nobody restarts the processes of the machine, as
        in a container; DeviceNotReady when the process does not stay up.
        """
        request = kernel_pb2.RestartDeviceRequest(device=name)
        return STATES.get(self._channel.ask(self._kernel.RestartDevice, request).state, "unknown")

    def detach(self, name: str) -> None:
        """Have the kernel give a device back, and leave it alone. Errors: as for `reset`."""
        self._channel.ask(self._kernel.DetachDevice, kernel_pb2.DetachDeviceRequest(device=name))

    def attach(self, name: str) -> str:
        """Have the kernel bring a device up that was detached; return its state then.

        Errors: as for `reset`.
        """
        request = kernel_pb2.AttachDeviceRequest(device=name)
        return STATES.get(self._channel.ask(self._kernel.AttachDevice, request).state, "unknown")

    def close(self) -> None:
        """Close the connection. Running calls are cancelled."""
        self._channel.close()

    def _list(self) -> kernel_pb2.ListDevicesResponse:
        return self._channel.ask(self._kernel.ListDevices, kernel_pb2.ListDevicesRequest())


def connect(  # noqa: PLR0913 - each has a name
    address: str | None = None,
    *,
    timeout: float | None = None,
    request_id: str = "",
    proxy: bool = True,
    keepalive: float = KEEPALIVE_SECONDS,
    credentials: Credentials | None = None,
    insecure: bool = False,
    retry_for: float = RETRY_SECONDS,
) -> Machine:
    """Connect to the machine at `address`, or at the address that `find_address` returns.

    The first call makes the connection. `timeout` is the limit for calls with a single response, in
    seconds: without one it is 60 s, and 900 s for calls that wait for storage (flush, discard,
    write_zeroes, resize); math.inf: no limit. `request_id` identifies all requests of this
    connection in the logs of the services. It has 1 to 64 letters, digits or . _ : - characters;
    without one, a new identifier is made. With `proxy=False` no HTTP proxy of the environment is
    used; for addresses of this host none ever is. `keepalive` is the interval of pings over TCP
    while a call is under way, in seconds: with the default, calls fail 25 s after the machine has
    vanished; 0: no pings.

    `retry_for` is how long a call or a stream waits for a kernel service that was lost, in seconds:
    one that dies is started again, and what may be repeated is. 0: not at all. Of what may not be
    repeated, the error's metadata says in "done" whether it was done: "no" or "unknown". A kernel
    service that has never answered is not waited for, unless a supervisor of this host runs it.

    For HOST:PORT, what `virtmesh login` has stored is found, and TLS is used. `credentials`, or
    $VIRTMESH_CREDENTIALS (the path of a bundle), or $VIRTMESH_TOKEN with $VIRTMESH_CA, come before.
    Without any of these, plain text is spoken on the loopback, and nowhere else unless `insecure`.
    Errors: ValueError for an invalid address or identifier; ServiceUnavailable if no machine, or
    more than one, is found; LoginNeeded, BadLogin.
    """
    return Machine(
        find_address(address),
        timeout=timeout,
        request_id=request_id,
        proxy=proxy,
        keepalive=keepalive,
        credentials=credentials,
        insecure=insecure,
        retry_for=retry_for,
    )
