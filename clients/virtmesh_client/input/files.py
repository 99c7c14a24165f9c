"""Load and save recordings.

The first character of a file tells which format it has: "{" is ours, anything else is evemu's.
When a file is written, its name decides.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_client.atomic_file import new_file
from virtmesh_client.input.evemu import read_evemu, write_evemu
from virtmesh_client.input.recording import read_recording, write_recording
from virtmesh_common.input.errors import BadRecording

if TYPE_CHECKING:
    from virtmesh_client.input.recording import Recording

EVEMU_SUFFIX = ".evemu"
FILE_LIMIT_BYTES = 1 << 30


def load_recording(path: str | Path) -> Recording:
    """Read a recording from a file, in our format or evemu's.

    Errors: BadRecording with file and line; OSError.
    """
    with Path(path).open("rb") as file:
        return parse_recording(file.read(FILE_LIMIT_BYTES), str(path))


def parse_recording(content: bytes, name: str) -> Recording:
    """Parse the content of a recording file; `name` is used in errors. Errors: BadRecording."""
    try:
        text = content.decode("utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"{name}: line {line}: the bytes are not UTF-8 text"
        raise BadRecording(message, line=line, file=name) from None
    read = read_recording if text.lstrip().startswith("{") else read_evemu
    try:
        return read(io.StringIO(text))
    except BadRecording as error:
        raise BadRecording(f"{name}: {error.message}", **error.metadata, file=name) from None


def save_recording(recording: Recording, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a recording to a file: in evemu's format if the name ends in .evemu, else in ours.

    The file appears under its name only when it is complete. Errors: FileExistsError if it exists
    and `overwrite` is false; OSError.
    """
    path = Path(path)
    with new_file(path, overwrite=overwrite) as file:
        file.write(spell_recording(recording, evemu=path.suffix == EVEMU_SUFFIX).encode())


def spell_recording(recording: Recording, *, evemu: bool) -> str:
    """Return a recording as the text of a file."""
    text = io.StringIO()
    (write_evemu if evemu else write_recording)(recording, text)
    return text.getvalue()
