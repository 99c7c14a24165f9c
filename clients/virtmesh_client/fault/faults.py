"""The faults of one device, with blocking calls (virtmesh.fault.v1).

with connect() as machine:
    fault = machine.faults("vda").add("io-error type=write every=3")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client.fault.models import Fault
from virtmesh_common.api.fault.v1 import fault_pb2 as pb
from virtmesh_common.api.fault.v1.fault_pb2_grpc import FaultServiceStub
from virtmesh_common.fault.message import decode_spec, encode_spec
from virtmesh_common.fault.spec import FaultSpec, parse_fault
from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_client.channel import KernelChannel


class Faults:
    """The faults of a device. Errors of all methods: DeviceNotFound, DeviceLost, NotOffered.

    They are kept by the service of the device, for every driver: also when this connection ends.
    A restart of the service ends them.

    Example:
        with virtmesh_client.connect() as machine:
            faults = machine.faults("vda")
            faults.add("io-error type=write probability=0.1 seed=7")
            print([(fault.number, fault.hits) for fault in faults.list()])
            faults.clear()
    """

    def __init__(self, channel: KernelChannel, device: str) -> None:
        self.device = device
        self._channel = channel
        self._stub = FaultServiceStub(channel.grpc)

    def add(self, fault: FaultSpec | str) -> Fault:
        """Order a fault, which may be in words; return it with its number and its seed.

        Errors: ValueError for words that make no sense; BadValue for a fault that the device can't
        have; TooManyFaults.
        """
        spec = parse_fault(fault) if isinstance(fault, str) else fault
        request = pb.AddRequest(spec=encode_spec(spec))
        return self._read(self._channel.ask(self._stub.Add, request, self.device).fault)

    def list(self) -> tuple[Fault, ...]:
        """Return the faults, in the order in which they were added."""
        response = self._channel.ask(self._stub.List, pb.ListRequest(), self.device)
        return tuple(self._read(one) for one in response.faults)

    def clear(self, numbers: Iterable[int] = ()) -> tuple[Fault, ...]:
        """Take faults back, all without `numbers`; return how they stood in the end.

        What they hold back goes on.
        Errors: FaultNotFound; none is taken back then.
        """
        request = pb.ClearRequest(ids=numbers)
        response = self._channel.ask(self._stub.Clear, request, self.device)
        return tuple(self._read(one) for one in response.faults)

    def _read(self, message: pb.Fault) -> Fault:
        """Read a fault. Errors: BadValue for one that a newer service knows and this does not."""
        spec = decode_spec(message.spec)
        return Fault(
            self.device,
            message.id,
            spec,
            message.seen,
            message.hits,
            message.held,
            printable(message.last),
        )
