"""Replaying the register dialogue of a saved trace against a device, and saying what differs.

The replay attaches to the device service as a driver does, with memory of its own that is empty: a
queue that the trace sets up is there, and nothing is ever in it. So the device does what registers
make it do, and no more. Accesses are executed one by one, in the order of the trace.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from virtmesh.attach.bus import Access
from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import PAGE, Ram
from virtmesh.machine import RAM_ADDRESS, DoorbellKind
from virtmesh_client.trace.decode import GUARD, Decoder, may_differ
from virtmesh_client.trace.events import ACCESSES, LOST
from virtmesh_common.api.trace.v1 import trace_pb2 as pb
from virtmesh_common.errors import BadTrace, DeviceAttached, RegisterError
from virtmesh_common.sizes import MEMORY_MAX
from virtmesh_common.virtio import mmio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from virtmesh_client.trace.events import Event

DRIVER_NAME = "virtmesh trace replay"
STEPS_MAX = 1 << 20
"""Most events of one device that are replayed."""
DETAIL_MAX = 0x7F
"""Largest detail of a register access: what is above is no width and no guard."""
RAM_BYTES = 64 << 20
"""Memory of the replay, unless queues of the trace are further up. Nothing is written to it."""
QUEUE_ROOM = 1 << 20
"""Room for a queue behind its address: more than its largest part takes (virtio 1.4, 2.7)."""

QUEUE_ADDRESSES = {
    low.offset: high.offset
    for low, high in (
        (mmio.QUEUE_DESC_LOW, mmio.QUEUE_DESC_HIGH),
        (mmio.QUEUE_DRIVER_LOW, mmio.QUEUE_DRIVER_HIGH),
        (mmio.QUEUE_DEVICE_LOW, mmio.QUEUE_DEVICE_HIGH),
    )
}
"""Where the two halves of a queue's addresses are written."""


@dataclass(frozen=True)
class Compared:
    """One access of the trace, and what became of it now."""

    event: Event
    register: str
    recorded: str
    now: str
    ignored: bool = False
    """True when the register may differ."""

    @property
    def differs(self) -> bool:
        """Whether this is a difference."""
        return self.recorded != self.now and not self.ignored


def steps_of(events: Iterable[Event], device: str) -> list[Event]:
    """Return what is replayed of a device: its register accesses and its attachments.

    Errors: BadTrace when there is nothing, when events are missing in between, or too many.
    """
    kinds = {*ACCESSES, "attach", "reset"}
    steps: list[Event] = []
    devices: set[str] = set()
    for event in events:
        devices.add(event.source.device)
        if event.source.device != device or event.source.side != "device":
            continue
        if event.kind == LOST and steps:
            raise BadTrace(
                f"{event.value} events of {device} are missing behind number"
                f" {steps[-1].sequence}: replay a trace that was saved without losses"
            )
        if event.kind in ACCESSES and event.detail > DETAIL_MAX:
            raise BadTrace(f"event {event.sequence} of {device} has no width: {event.detail:#x}")
        if event.kind in kinds:
            steps.append(event)
        if len(steps) > STEPS_MAX:
            raise BadTrace(f"more than {STEPS_MAX} register accesses of {device}: save less")
    if not any(step.kind in ACCESSES for step in steps):
        known = ", ".join(sorted(devices)) or "nothing"
        raise BadTrace(f"no register access of {device!r} is in the trace: it has {known}")
    return steps


def ram_bytes(steps: Sequence[Event]) -> int:
    """Return how much memory holds the queues of a trace, from RAM_ADDRESS on."""
    halves: dict[int, int] = {}
    end = RAM_ADDRESS + RAM_BYTES
    for step in steps:
        if step.kind != "register_write":
            continue
        halves[step.token] = step.value
        for low, high in QUEUE_ADDRESSES.items():
            if step.token in {low, high}:
                address = halves.get(high, 0) << 32 | halves.get(low, 0)
                if address < RAM_ADDRESS + MEMORY_MAX - QUEUE_ROOM:
                    end = max(end, address + QUEUE_ROOM)
    return (end - RAM_ADDRESS + PAGE - 1) // PAGE * PAGE


async def replay(
    steps: Sequence[Event], endpoint: str, *, strict: bool = False
) -> AsyncIterator[Compared]:
    """Execute accesses on the device service at an address; returns each with its outcome.

    The device is attached to, anew where the trace has that, and is given back at the end.
    Errors: DeviceAttached, ServiceUnavailable, DeviceLost, BadTrace for another kind of device.
    """
    decoder = Decoder()
    async with AsyncExitStack() as stack:
        bus = await _attach(stack, steps, endpoint)
        accessed = False
        for step in steps:
            spelled = decoder.spell(step)
            if step.kind == "attach" and accessed:
                await stack.aclose()
                bus = await _attach(stack, steps, endpoint)
            if step.kind not in ACCESSES:
                continue
            accessed = True
            after = await _execute(bus, step)
            name = spelled.register.partition("[")[0]
            ignored = not strict and name in may_differ(step.source)
            before = outcome(step)
            now = spelled if before == outcome(after) else decoder.spell(after)
            yield Compared(step, spelled.register, spelled.text, now.text, ignored=ignored)


def outcome(event: Event) -> tuple[str, int]:
    """Return what is compared of an access: done or refused, and the value or the reason."""
    if event.kind.endswith("refused"):
        return event.kind, event.extra
    return event.kind, event.value


async def _attach(stack: AsyncExitStack, steps: Sequence[Event], endpoint: str) -> GrpcBus:
    """Attach to the device, with memory for the queues of the trace."""
    source = steps[0].source
    ram = stack.enter_context(Ram(ram_bytes(steps)))
    try:
        bus = await GrpcBus.connect(
            endpoint, ram=ram, driver_name=DRIVER_NAME, doorbell=DoorbellKind.MMIO
        )
    except DeviceAttached as error:
        error.add_note(
            "a replay needs a device for itself: start one with `virtmesh-device` and name it by"
            " --to"
        )
        raise
    stack.push_async_callback(bus.close)
    if source.kind and bus.kind != source.kind:
        raise BadTrace(
            f"the trace is of a device of the kind {source.kind}, {endpoint} has one of the kind"
            f" {bus.kind}"
        )
    return bus


async def _execute(bus: GrpcBus, step: Event) -> Event:
    """Execute an access; returns it as the event that it is now."""
    write = step.kind in {"register_write", "write_refused"}
    width = step.detail & ~GUARD
    access = Access(step.token, width, step.value if write else None)
    try:
        (value,) = await bus.access([access])
    except RegisterError as error:
        name = f"REFUSAL_REASON_{error.reason}"
        known = pb.RefusalReason.DESCRIPTOR.values_by_name.get(name)
        number = pb.REFUSAL_REASON_UNSPECIFIED if known is None else known.number
        kind = "write_refused" if write else "read_refused"
        return replace(step, kind=kind, extra=number, text=error.message)
    kind = "register_write" if write else "register_read"
    return replace(step, kind=kind, value=step.value if write else value)
