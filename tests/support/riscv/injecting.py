"""Events sent to the input devices of a booted guest, by the devices' own services."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.riscv.boot import INPUTS, Rig
from tests.support.riscv.events import Event
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.channel import open_sync_channel


def info(rig: Rig, device: str) -> pb.GetInfoResponse:
    """Ask a device what it is."""
    with open_sync_channel(rig.address(device)) as channel:
        return InputServiceStub(channel).GetInfo(pb.GetInfoRequest())


def codes_of(told: pb.GetInfoResponse, kind: int) -> Sequence[int]:
    """Return the codes of an event type that a device has."""
    return next(row.codes for row in told.capabilities if row.type == kind)


def event_name(rig: Rig, device: str) -> str:
    """Return the name of a device's node in the guest, such as "event0". Errors: LookupError."""
    name = info(rig, device).name
    for number in range(len(INPUTS)):
        if rig.guest.run(f"cat /sys/class/input/event{number}/device/name").rstrip("\n") == name:
            return f"event{number}"
    raise LookupError(f"the guest has no input device {name!r}")


def send(rig: Rig, device: str, packets: Sequence[Sequence[Event]]) -> None:
    """Inject packets; returns when the kernel's driver has all of them."""
    assert inject(rig, device, packets) == {pb.OUTCOME_ACCEPTED, pb.OUTCOME_DELIVERED}


def inject(rig: Rig, device: str, packets: Sequence[Sequence[Event]]) -> set[int]:
    """Inject packets; returns what became of them."""
    with open_sync_channel(rig.address(device)) as channel:
        answers = list(InputServiceStub(channel).Inject(map(_request, *_numbered(packets))))
    return {answer.outcome for answer in answers}


def _numbered(packets: Sequence[Sequence[Event]]) -> tuple[range, Sequence[Sequence[Event]]]:
    return range(1, len(packets) + 1), packets


def _request(sequence: int, packet: Sequence[Event]) -> pb.InjectRequest:
    return pb.InjectRequest(
        sequence=sequence,
        events=[pb.Event(type=kind, code=code, value=value) for kind, code, value in packet],
        report_delivered=True,
    )
