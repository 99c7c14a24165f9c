"""What a supervisor is to run, as the command line says it.

It imports nothing that takes time: `virtmesh up --detach` gives an order before anything else.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Quick:
    """A machine that is given on the command line, instead of a file."""

    disks: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    serial: str | None = None
    devices: tuple[str, ...] = ()
    no_serial: bool = False
    vhost_user: bool = False

    @property
    def is_given(self) -> bool:
        """True when there is any device."""
        return bool(self.disks or self.inputs or self.devices or self.serial is not None)


@dataclass(frozen=True)
class Order:
    """A machine to run, where, and how long it may take; as far as it is said."""

    machine: str | None = None
    """The machine file."""
    quick: Quick = Quick()
    name: str | None = None
    run_dir: str | None = None
    wait: float = 30.0
    """Seconds until the machine must be ready."""

    def encode(self) -> bytes:
        """Return it as a line. Names of files may be any bytes."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Self | None:
        """Return the order in a line; None if there is none: the command has found a fault."""
        if not line.endswith(b"\n"):
            return None
        content = json.loads(line)
        quick: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in content.pop("quick").items()
        }
        return cls(quick=Quick(**quick), **content)
