"""The options of `virtmesh console`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re
    from pathlib import Path

    from virtmesh_client.cli.settings import Settings


@dataclass(frozen=True)
class ConsoleArguments:
    """The options of the command line."""

    settings: Settings
    escape: bytes
    tail: int | None
    from_start: bool
    read_only: bool
    log: Path | None
    until: re.Pattern[str] | None
    wait: float | None
