"""A client that imports files to a disk and exports them again."""

from __future__ import annotations

import hashlib
import io

from tests.soak.actors.actor import Actor
from tests.soak.machine import DISK_BYTES

FIRST = 16 << 20
"""Where its part of the disk begins, in bytes; it goes up to the end."""
SIZES = (4096, 100_000, 1 << 20, 3 << 20)


class Copier(Actor):
    """Imports, verifies, exports, compares."""

    role = "copier"

    def step(self) -> None:
        """Copy a file there and back."""
        disk = self.machine.disk(self.device)
        data = self.chance.randbytes(self.chance.choice(SIZES))
        at = self.chance.randrange(FIRST, DISK_BYTES - len(data))
        self.operation = "import"
        begin = self.journal.now()
        disk.import_from(io.BytesIO(data), offset=at, verify=True)
        self.did("import", begin, len(data))
        self.operation = "export"
        begin = self.journal.now()
        target = io.BytesIO()
        copy = disk.export_to(target, offset=at, length=len(data))
        self.did("export", begin, len(data))
        if target.getvalue() != data or copy.sha256 != hashlib.sha256(data).hexdigest():
            self.wrong(
                f"what was exported from byte {at} of {self.device} is not what was imported"
            )
