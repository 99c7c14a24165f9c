"""Load and save recordings.

The beginning of a file tells which format it has: "{" is ours, a file of `libinput record` has keys
of YAML, anything else is evemu's. When a file is written, its name decides: .evemu is evemu's
format, .toml is the personality of the recorded device, anything else is ours.
"""

from __future__ import annotations

import io
from codecs import BOM_UTF8
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from virtmesh_client.atomic_file import new_file
from virtmesh_client.input.evemu import read_evemu, write_evemu
from virtmesh_client.input.libinput import is_libinput, read_libinput
from virtmesh_client.input.personality import spell_personality
from virtmesh_client.input.recording import Recording, read_recording, write_recording
from virtmesh_common.input.errors import BadRecording

if TYPE_CHECKING:
    from collections.abc import Callable

EVEMU_SUFFIX, PERSONALITY_SUFFIX = ".evemu", ".toml"
Format = Literal["virtmesh", "evemu", "personality"]
WRITERS: dict[Format, Callable[[Recording, TextIO], object]] = {
    "virtmesh": write_recording,
    "evemu": write_evemu,
    "personality": lambda recording, file: file.write(spell_personality(recording)),
}
FILE_LIMIT_BYTES = 1 << 30


def load_recording(path: str | Path, *, node: str = "") -> Recording:
    """Read a recording from a file: our format, evemu's, or that of `libinput record`.

    `node` chooses a device of a file that has several, by its path such as "/dev/input/event4".
    Errors: BadRecording with file and line; OSError.
    """
    with Path(path).open("rb") as file:
        content = file.read(FILE_LIMIT_BYTES + 1)
    if len(content) > FILE_LIMIT_BYTES:
        raise BadRecording(f"{path}: a recording has at most {FILE_LIMIT_BYTES} bytes: split it")
    return parse_recording(content, str(path), node=node)


def parse_recording(content: bytes, name: str, *, node: str = "") -> Recording:
    """Parse the content of a recording file; `name` is used in errors. Errors: BadRecording."""
    ours = content.removeprefix(BOM_UTF8).lstrip().startswith(b"{")
    try:
        # Some editors write a byte order mark. Names of real devices can be any bytes.
        text = content.decode("utf-8-sig", errors="strict" if ours else "replace")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"{name}: line {line}: the bytes are not UTF-8 text"
        raise BadRecording(message, line=line, file=name) from None
    file = io.StringIO(text)
    try:
        if ours:
            return read_recording(file)
        return read_libinput(file, node) if is_libinput(text) else read_evemu(file)
    except BadRecording as error:
        raise BadRecording(f"{name}: {error.message}", **error.metadata, file=name) from None


def save_recording(recording: Recording, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a recording to a file, in the format that the ending of its name says.

    The file appears under its name only when it is complete. Errors: FileExistsError if it exists
    and `overwrite` is false; BadRecording; OSError.
    """
    path = Path(path)
    content = spell_recording(recording, format_of(path)).encode()
    with new_file(path, overwrite=overwrite) as file:
        file.write(content)


def format_of(path: Path) -> Format:
    """Return the format that a file has by the ending of its name."""
    formats: dict[str, Format] = {EVEMU_SUFFIX: "evemu", PERSONALITY_SUFFIX: "personality"}
    return formats.get(path.suffix, "virtmesh")


def spell_recording(recording: Recording, form: Format) -> str:
    """Return a recording as the text of a file. Errors: BadRecording."""
    text = io.StringIO()
    WRITERS[form](recording, text)
    return text.getvalue()
