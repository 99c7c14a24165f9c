"""Recordings in files; what is read decides by its beginning, what is written by its name."""

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
    """Read a recording, ours or evemu's. Errors: BadRecording with file and line; OSError."""
    with Path(path).open("rb") as file:
        return parse_recording(file.read(FILE_LIMIT_BYTES), str(path))


def parse_recording(content: bytes, name: str) -> Recording:
    """Take the bytes of a recording apart. Errors: BadRecording."""
    try:
        text = content.decode("utf-8-sig")  # editors of other systems begin with a mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadRecording(f"{name}: line {line}: not UTF-8 text", line=line, file=name) from None
    read = read_recording if text.lstrip().startswith("{") else read_evemu
    try:
        return read(io.StringIO(text))
    except BadRecording as error:
        raise BadRecording(f"{name}: {error.message}", **error.metadata, file=name) from None


def save_recording(recording: Recording, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a recording; a name that ends in .evemu gets evemu's format.

    The file gets its name when it is complete. Errors: FileExistsError unless `overwrite`; OSError.
    """
    path = Path(path)
    with new_file(path, overwrite=overwrite) as file:
        file.write(spell_recording(recording, evemu=path.suffix == EVEMU_SUFFIX).encode())


def spell_recording(recording: Recording, *, evemu: bool) -> str:
    """Return a recording as text."""
    text = io.StringIO()
    (write_evemu if evemu else write_recording)(recording, text)
    return text.getvalue()
