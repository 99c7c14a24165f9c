"""What a driver has made of a GPU, kept for the process that comes after this one.

A record is a command as it was carried out: resources, their backings, what is shown. Pixels are
in guest memory, and are transferred from there again. Where cursors are is kept beside, since they
move often.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import Command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh.mmio.kept_state import KeptState

COMMAND = struct.Struct("<I")
BYTES = (80 << 20) + 4096
"""Room for the records: more than twice those of all resources that a driver can have."""
REWRITE_BYTES = 1 << 20
"""Records are not written anew before they have this size."""
RECORDS_MAX = 1 << 17
"""Most records: the process that follows has to read them all."""
REWRITE_RECORDS = 1 << 16
"""Records after which those that matter are written anew. They are half as many at most."""
BODIES = {
    int(Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_2D): spec.RESOURCE_CREATE_2D,
    int(Command.VIRTIO_GPU_CMD_RESOURCE_UNREF): spec.RESOURCE_ID,
    int(Command.VIRTIO_GPU_CMD_SET_SCANOUT): spec.SET_SCANOUT,
    int(Command.VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING): spec.RESOURCE_ATTACH_BACKING,
    int(Command.VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING): spec.RESOURCE_ID,
    int(Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB): spec.RESOURCE_CREATE_BLOB,
    int(Command.VIRTIO_GPU_CMD_SET_SCANOUT_BLOB): spec.SET_SCANOUT_BLOB,
}
"""Commands that are kept, with what follows their header."""
ATTACH = int(Command.VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING)
BLOB = int(Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB)
SCANOUTS = {
    int(Command.VIRTIO_GPU_CMD_SET_SCANOUT),
    int(Command.VIRTIO_GPU_CMD_SET_SCANOUT_BLOB),
}


def record_of(command: int, body: bytes) -> bytes:
    """Return the record of a command that was carried out; empty for one that is not kept."""
    layout = BODIES.get(command)
    if layout is None:
        return b""
    size = layout.size
    if command == ATTACH:
        size += layout.unpack_from(body)[1] * spec.MEM_ENTRY.size
    elif command == BLOB:
        size += layout.unpack_from(body)[3] * spec.MEM_ENTRY.size
    return COMMAND.pack(command) + body[:size]


class Live:
    """The records that still matter, of all that there were."""

    def __init__(self) -> None:
        self._made: dict[int, bytes] = {}
        self._backings: dict[int, bytes] = {}
        self._shown: dict[int, tuple[int, bytes]] = {}

    def take(self, record: bytes) -> None:
        """Take the next record. Errors: struct.error for what is none."""
        (command,) = COMMAND.unpack_from(record)
        values = BODIES[command].unpack_from(record, COMMAND.size)
        if command in SCANOUTS:
            number, resource = values[4:6]
            self._shown.pop(number, None)
            if resource:
                self._shown[number] = resource, record
            return
        number = values[0]
        if command == Command.VIRTIO_GPU_CMD_RESOURCE_UNREF:
            self._made.pop(number, None)
            self._backings.pop(number, None)
            shown = self._shown.items()
            self._shown = {one: what for one, what in shown if what[0] != number}
        elif command == Command.VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING:
            self._backings.pop(number, None)
        elif command == ATTACH:
            self._backings[number] = record
        elif command == BLOB and values[3]:
            count, end = values[3], COMMAND.size + spec.RESOURCE_CREATE_BLOB.size
            empty = spec.RESOURCE_CREATE_BLOB.pack(*values[:3], 0, *values[4:])
            self._made[number] = COMMAND.pack(command) + empty
            attach = spec.RESOURCE_ATTACH_BACKING.pack(number, count)
            self._backings[number] = COMMAND.pack(ATTACH) + attach + record[end:]
        else:
            self._made[number] = record

    def __iter__(self) -> Iterator[bytes]:
        """Give the records in an order in which they can be carried out."""
        yield from self._made.values()
        yield from self._backings.values()
        yield from (record for _, record in self._shown.values())


class Journal:
    """The records of one GPU. Without memory to keep them in it does nothing."""

    def __init__(self) -> None:
        self._state: KeptState | None = None
        self._live = Live()
        self._rewritten = self._count = 0
        """Bytes of the records when they were written anew last, and records since then."""
        self._pending = b""

    def open(self, state: KeptState | None) -> list[bytes]:
        """Take the memory of a driver; return what is to be carried out again."""
        self._state, self._live, self._pending, self._rewritten = state, Live(), b"", 0
        self._count = 0
        records = [] if state is None else state.records(RECORDS_MAX)
        try:
            for record in records:
                self._live.take(record)
        except (struct.error, KeyError):  # Somebody else has written there.
            self._live, records = Live(), []
        if state is not None and records and not state.is_confirmed:
            self._pending = records[-1]
        self._count = len(records)
        return list(self._live)

    def clear(self) -> None:
        """Forget everything: the device is reset."""
        self._live, self._pending, self._rewritten, self._count = Live(), b"", 0, 0
        if self._state is not None:
            self._state.clear()

    @property
    def has_pending(self) -> bool:
        """A command may have been carried out, and not been answered."""
        return bool(self._pending)

    def repeats(self, command: int, body: bytes) -> bool:
        """Say whether the first command of this process is that one."""
        pending, self._pending = self._pending, b""
        if self._state is not None:
            self._state.confirm()
        return (COMMAND.pack(command) + body).startswith(pending)

    def note(self, record: bytes) -> None:
        """Keep a record, before its command is answered."""
        if record and self._state is not None:
            self._live.take(record)
            self._count += 1
            if not self._state.append(record):
                self._state.rewrite(self._live)

    def confirm(self, record: bytes) -> None:
        """Note that it is answered. Sometimes the records that matter are written anew."""
        state = self._state
        if state is None or not record:
            return
        state.confirm()
        is_long = state.length > max(2 * self._rewritten, REWRITE_BYTES)
        if is_long or self._count > REWRITE_RECORDS:
            state.rewrite(self._live)
            self._rewritten, self._count = state.length, 0

    def move_cursor(self, number: int, body: bytes) -> None:
        """Keep where the cursor of a scanout is, and its resource."""
        if self._state is not None:
            self._state.write_slot(number, body)

    def cursor(self, number: int) -> bytes:
        """Return what was kept of the cursor of a scanout."""
        empty = bytes(spec.UPDATE_CURSOR.size)
        return empty if self._state is None else self._state.read_slot(number, len(empty))
