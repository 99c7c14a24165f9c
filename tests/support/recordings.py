"""Recordings like those of real devices, one for each kind of trouble: tests/data/recordings.

Each has the facts of a device (what it has, its ranges, values that it sent) in as few packets as
show the trouble.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh.input.personality import Personality, parse
from virtmesh_client.input.files import load_recording
from virtmesh_client.input.personality import spell_personality

if TYPE_CHECKING:
    from virtmesh_client.input import Recording

FOLDER = Path(__file__).parent.parent / "data" / "recordings"
TOUCHSCREEN = "/dev/input/event5"
LID = "/dev/input/event1"
REAL: dict[str, tuple[str, str]] = {
    **{path.stem: (path.name, "") for path in sorted(FOLDER.glob("*.evemu"))},
    "mouse-pasted": ("mouse-pasted.yml", ""),
    "touchscreen": ("touchscreen-and-lid.yml", TOUCHSCREEN),
    "lid": ("touchscreen-and-lid.yml", LID),
}
"""File and device of each recording."""


def load_real(name: str) -> Recording:
    """Load one of them."""
    file, node = REAL[name]
    return load_recording(FOLDER / file, node=node)


def personality_of(recording: Recording) -> Personality:
    """Return the personality that `virtmesh input convert` makes of a recording."""
    return parse("recorded", tomllib.loads(spell_personality(recording)))
