"""State that a device keeps in memory of its driver, and that outlives its process.

It lies behind the in-flight logs, in the same file, if the driver has made that long enough
(DescribeResponse.kept_state_bytes). A record is there as soon as one word says so, so a process
that is killed at any instruction leaves either all of it or nothing.

Layout: a page with two words, and slots of 64 bytes that are overwritten in place; then two halves.
The first word names one of them, and how many bytes of it are records. The second word has the
value that the first had when the last record was confirmed: what that is about is done then, and
answered. Else it is done, and may be answered or not.

Threats: as for the logs, the driver can write anything there. What makes no sense is no record.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_native import GuestMemory

PAGE = 4096
WORD = struct.Struct("<Q")
LENGTH = struct.Struct("<I")
COMMIT, CONFIRMED = 0, 8
SLOT_BYTES = 64
SLOTS = PAGE // SLOT_BYTES - 1
SECOND_HALF = 1 << 63


class KeptState:
    """The state of one device, from `address` on. Nothing is written after `freeze`."""

    def __init__(self, memory: GuestMemory, address: int, size: int) -> None:
        self._memory = memory
        self._address = address
        self._half = (size - PAGE) // 2
        self._frozen = False
        commit = self._word(COMMIT)
        self._second = bool(commit & SECOND_HALF)
        self._length = commit & ~SECOND_HALF
        if self._length > self._half:
            self._length = 0

    @property
    def length(self) -> int:
        """Bytes of the records."""
        return self._length

    def records(self, most: int) -> list[bytes]:
        """Return the records; none if they make no sense, or if there are more than so many."""
        found: list[bytes] = []
        data, place = self._memory.read(self._base(self._second), self._length), 0
        while place < len(data):
            if len(found) == most or place + LENGTH.size > len(data):
                return []
            (size,) = LENGTH.unpack_from(data, place)
            place += LENGTH.size
            if size > len(data) - place:
                return []
            found.append(data[place : place + size])
            place += size
        return found

    @property
    def is_confirmed(self) -> bool:
        """False if the process that appended the last record ended before it was confirmed."""
        return self._word(CONFIRMED) == self._word(COMMIT)

    def append(self, record: bytes) -> bool:
        """Add a record. False if there is no room for it."""
        data = LENGTH.pack(len(record)) + record
        if self._frozen or self._length + len(data) > self._half:
            return False
        self._memory.write(self._base(self._second) + self._length, data)
        self._length += len(data)
        self._commit()
        return True

    def confirm(self) -> None:
        """Note that what the last record is about is done."""
        self._put(CONFIRMED, self._word(COMMIT))

    def rewrite(self, records: Iterable[bytes]) -> bool:
        """Replace all records. False if there is no room for the new ones: the old ones stay."""
        data = b"".join(LENGTH.pack(len(one)) + one for one in records)
        if self._frozen or len(data) > self._half:
            return False
        self._memory.write(self._base(not self._second), data)
        self._second, self._length = not self._second, len(data)
        self._commit()
        self.confirm()
        return True

    def read_slot(self, number: int, length: int) -> bytes:
        """Return what was written to a slot; zeroes before."""
        return self._memory.read(self._address + SLOT_BYTES * (1 + number), length)

    def write_slot(self, number: int, data: bytes) -> None:
        """Overwrite a slot, with SLOT_BYTES at most."""
        if not self._frozen:
            self._memory.write(self._address + SLOT_BYTES * (1 + number), data)

    def clear(self) -> None:
        """Forget everything: the driver has reset the device."""
        if not self._frozen:
            self._memory.write(self._address + SLOT_BYTES, bytes(PAGE - SLOT_BYTES))
            self._length = 0
            self._commit()
            self.confirm()

    def freeze(self) -> None:
        """Write nothing any more: the driver is gone, and what is here is for the next process."""
        self._frozen = True

    def _base(self, second: bool) -> int:  # noqa: FBT001 - which half
        return self._address + PAGE + (self._half if second else 0)

    def _commit(self) -> None:
        self._put(COMMIT, self._length | (SECOND_HALF if self._second else 0))

    def _word(self, place: int) -> int:
        value: int = WORD.unpack(self._memory.read(self._address + place, WORD.size))[0]
        return value

    def _put(self, place: int, value: int) -> None:
        if not self._frozen:
            self._memory.write(self._address + place, WORD.pack(value))
