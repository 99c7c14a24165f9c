"""Put a new process of a device into the state in which the last one was: transparent restarts.

A driver that can't begin anew (a CPU, whose guest must not notice) keeps what its guest wrote to
the registers, its RAM, and the in-flight logs. When the device is gone, it attaches to the next
process with the same RAM and the same logs, and writes the registers again:

    about = await control.Describe(...)
    config = config_fields(interface.registers)            # once
    before = await run(bus.access, read_fingerprint(about, config))
    ...                                        # the guest runs, the device is lost
    bus = ...                                  # a new one, freshly attached
    await run(bus.access, restore(writes, before, about, config))
    ...                                        # the guest goes on

`writes` lead from a reset to the state, in order: Status steps, features, the set-up of queues,
configuration, DRIVER_OK, selectors; or LCR, DLL, DLM, IER, FCR, MCR, SCR of a serial port. Status 0
is not among them, and neither are InterruptACK and QueueNotify: queues look for buffers when they
start.

A device may change its configuration while it is used (a disk that is resized). When the guest has
been told (it wrote CONFIG_CHANGE to InterruptACK), read the fields again:

    before = before.with_registers(await run(bus.access, read_config(config)))

A device that said so and ended before its fields could be read again is compared by the fields that
it has now. Attach it with AttachRequest.config_changed: it tells its driver once more.

What a driver reads through selectors of the configuration space (name and keys of an input device)
can't be read before features are negotiated: the service says it (DescribeResponse.identity).

Each function here is a generator of batches that is sent what they read, so that it serves any way
to the registers: `run` executes it. How long a device may take is the caller's to bound.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from virtmesh.attach.bus import Access, reading, writing
from virtmesh_common.errors import NotRestorable, RegisterError
from virtmesh_common.registers import Access as Direction
from virtmesh_common.virtio.mmio import (
    CONFIG_GENERATION,
    DEVICE_FEATURES,
    DEVICE_FEATURES_SEL,
    DEVICE_ID,
    MMIO_CONFIG,
    QUEUE_READY,
    QUEUE_RESET,
    QUEUE_SEL,
    QUEUE_SIZE_MAX,
    STATUS,
    VENDOR_ID,
)
from virtmesh_common.virtio.status import Status, spell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from virtmesh_common.api.device.v1 import device_pb2
    from virtmesh_common.registers import Register

SavedWrite = tuple[int, int, int]
"""A register write: offset and width in bytes, value (Board.saved)."""
Result = TypeVar("Result")
Steps = Generator[Sequence[Access], list[int], Result]
"""Batches of accesses, each of which is sent what it read."""
Execute: TypeAlias = "Callable[[Sequence[Access]], Awaitable[Sequence[int]]]"
"""Executes a batch, and returns what its reads gave, and 0 for each write."""

BATCH = 1024
"""Most accesses of one batch here."""
FEATURE_WORDS = 2
"""Words of feature bits: every known feature is below bit 64."""
CONFIG_ATTEMPTS = 64
"""Most reads of a configuration that keeps changing."""
QUEUES_MAX = 1024
"""Most queues of a device."""


@dataclass(frozen=True)
class Fingerprint:
    """What a driver may rely on for as long as it uses a device.

    `description` has what DescribeResponse says, `registers` what registers do, by their names:
    IDs, offered features, queue sizes, and the fields of the configuration that only the device
    changes.
    """

    description: Mapping[str, object]
    registers: Mapping[str, int]

    def differences(self, now: Fingerprint) -> list[str]:
        """Say in words what differs, such as "capacity was 2048 and is 4096"."""
        found = []
        for old, new in (
            (self.description, now.description),
            (dict(self.registers), dict(now.registers)),
        ):
            for name in dict.fromkeys((*old, *new)):
                was, is_now = old.get(name, "missing"), new.get(name, "missing")
                if was != is_now:
                    found.append(f"{name} was {was} and is {is_now}")
        return found

    def with_registers(self, changed: Mapping[str, int]) -> Fingerprint:
        """Return one with other values of some registers: the device told of a change."""
        return Fingerprint(self.description, {**self.registers, **changed})


def config_fields(registers: Iterable[Register]) -> tuple[Register, ...]:
    """Return the fields of a configuration space that only the device changes, and seldom.

    `registers` are those of Interface.registers, if its space is VIRTIO_CONFIG.
    """
    return tuple(one for one in registers if one.access is Direction.R and not one.transient)


def read_fingerprint(
    about: device_pb2.DescribeResponse, config: Sequence[Register]
) -> Steps[Fingerprint]:
    """Read what a device is. It leaves QueueSel and DeviceFeaturesSel at 0: do it before a guest.

    Errors: NotRestorable for a configuration that never stops changing.
    """
    description = {
        "kind": about.kind,
        "compatible": about.compatible,
        "virtio device ID": about.virtio_device_id,
        "size of the window": about.mmio_size_bytes,
        "queue sizes": tuple(about.queue_size_max),
        **{name: about.properties[name] for name in sorted(about.properties)},
        **{name: about.identity[name] for name in sorted(about.identity)},
    }
    if not about.virtio_device_id:
        return Fingerprint(description, {})
    queues = range(min(len(about.queue_size_max), QUEUES_MAX))
    read = yield from _in_batches(
        [
            reading(DEVICE_ID),
            reading(VENDOR_ID),
            *_selected(DEVICE_FEATURES_SEL, DEVICE_FEATURES, range(FEATURE_WORDS)),
            *_selected(QUEUE_SEL, QUEUE_SIZE_MAX, queues),
            writing(DEVICE_FEATURES_SEL, 0),
            writing(QUEUE_SEL, 0),
        ]
    )
    values = iter(read)
    registers = {"DeviceID": next(values), "VendorID": next(values)}
    registers["offered features"] = 0
    for word in range(FEATURE_WORDS):
        _write, value = next(values), next(values)
        registers["offered features"] |= value << 32 * word
    for queue in queues:
        _write, registers[f"QueueSizeMax of queue {queue}"] = next(values), next(values)
    fields = yield from read_config(config)
    return Fingerprint(description, {**registers, **fields})


def read_config(config: Sequence[Register]) -> Steps[dict[str, int]]:
    """Read fields of the configuration, all of one generation (2.5.1), by their names.

    It changes nothing, so it may be done while a guest runs. Errors: NotRestorable if the
    configuration never stops changing.
    """
    if not config:
        return {}
    parts = [part for field in config for part in _parts(field)]
    batch = [reading(CONFIG_GENERATION), *parts, reading(CONFIG_GENERATION)]
    for _ in range(CONFIG_ATTEMPTS):
        before, *read, after = yield from _in_batches(batch)
        if before == after:
            values = iter(read)
            return {field.name: _join(field, values) for field in config}
    raise NotRestorable(f"the configuration changed during each of {CONFIG_ATTEMPTS} reads")


def restore(
    writes: Sequence[SavedWrite],
    before: Fingerprint,
    about: device_pb2.DescribeResponse,
    config: Sequence[Register],
) -> Steps[None]:
    """Restore a freshly attached device, if it is the one that it was.

    The logs of queues that are not ready are cleared: whatever is in them, the guest has given it
    up. Errors: ValueError for writes that reset something; NotRestorable, with what differs, or
    what the device refused, in words.
    """
    name, virtio = about.name, bool(about.virtio_device_id)
    if virtio:
        _check_writes(writes)
    now = yield from read_fingerprint(about, config)
    differences = before.differences(now)
    if differences:
        raise NotRestorable(
            f"{name} is another device than before: {'; '.join(differences)}",
            device=name,
            differences="; ".join(differences),
        )
    accesses = [Access(offset, width, value) for offset, width, value in writes]
    if virtio:
        queues = range(min(len(about.queue_size_max), QUEUES_MAX))
        accesses = [*_clear_idle(writes, queues), *_configure_first(accesses)]
    try:
        yield from _in_batches(accesses)
    except RegisterError as error:
        raise NotRestorable(f"{name} refused a write: {error.message}", device=name) from error
    if virtio:
        yield from _check_status(name, writes)


async def run(access: Execute, steps: Steps[Result]) -> Result:
    """Execute steps by a function that executes a batch, such as Bus.access.

    Errors: those of the steps, and of the function; a RegisterError is the steps' to handle.
    """
    move = partial(next, steps)
    while True:
        try:
            batch = move()
        except StopIteration as end:
            return cast("Result", end.value)
        try:
            move = partial(steps.send, list(await access(batch)))
        except RegisterError as error:
            move = partial(steps.throw, error)


def _in_batches(accesses: Sequence[Access]) -> Steps[list[int]]:
    """Execute accesses, as many as there are. Errors: RegisterError."""
    values: list[int] = []
    for start in range(0, len(accesses), BATCH):
        values += yield accesses[start : start + BATCH]
    return values


def _selected(selector: Register, register: Register, indexes: range) -> Iterator[Access]:
    """Read a register once for each value of a selector."""
    for index in indexes:
        yield writing(selector, index)
        yield reading(register)


def _parts(field: Register) -> Iterator[Access]:
    """Split the read of a field into accesses of its widest width."""
    width = max(field.widths)
    for start in range(0, field.size, width):
        yield Access(field.offset + start, width)


def _join(field: Register, values: Iterator[int]) -> int:
    """Join the parts of a field, little-endian."""
    return sum(next(values) << 8 * (part.offset - field.offset) for part in _parts(field))


def _check_writes(writes: Sequence[SavedWrite]) -> None:
    """Check that no write begins a reset, which would clear in-flight logs. Errors: ValueError."""
    for offset, _, value in writes:
        if (offset == STATUS.offset and not value) or (offset == QUEUE_RESET.offset and value):
            raise ValueError(f"a write of {value:#x} to {offset:#x} resets what is to be restored")


def _clear_idle(writes: Sequence[SavedWrite], queues: range) -> Iterator[Access]:
    """Clear the in-flight log of each queue that is not ready at the end, by QueueReady 0.

    The device may have been killed while it reset the queue, before it cleared the log.
    """
    selected, ready = 0, dict.fromkeys(queues, 0)
    for offset, _, value in writes:
        if offset == QUEUE_SEL.offset:
            selected = value
        elif offset == QUEUE_READY.offset:
            ready[selected] = value
    for queue in queues:
        if not ready[queue]:
            yield writing(QUEUE_SEL, queue)
            yield writing(QUEUE_READY, 0)
    yield writing(QUEUE_SEL, 0)


def _configure_first(accesses: Sequence[Access]) -> Sequence[Access]:
    """Put the configuration before DRIVER_OK: what is taken again is executed as it says.

    A write to a disk whose driver asked for write-through must be stable when it is used.
    """
    live = Status.DRIVER_OK
    for place, one in enumerate(accesses):
        if one.offset == STATUS.offset and (one.value or 0) & live:
            rest = accesses[place:]
            config = [late for late in rest if late.offset >= MMIO_CONFIG]
            others = [late for late in rest if late.offset < MMIO_CONFIG]
            return [*accesses[:place], *config, *others]
    return accesses


def _check_status(name: str, writes: Sequence[SavedWrite]) -> Steps[None]:
    """Check that Status is what the driver made of it. Errors: NotRestorable."""
    wanted = 0
    for offset, _, value in writes:
        if offset == STATUS.offset:
            wanted |= value  # Only a reset clears bits (2.1.1).
    (status,) = yield [reading(STATUS)]
    if status == wanted:
        return
    broken = " (it can't serve a queue: its log says why)" * bool(
        status & Status.DEVICE_NEEDS_RESET
    )
    raise NotRestorable(
        f"{name} was restored, but its Status is {_spell(status)}, not {_spell(wanted)}{broken}",
        device=name,
    )


def _spell(status: int) -> str:
    """Spell a status."""
    return spell(status) if status else "0"
