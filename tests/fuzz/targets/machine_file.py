"""Machine files and personalities of input devices: TOML that people, and strangers, write."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from pathlib import Path

from tests.fuzz.target import stateless
from virtmesh.input import personality
from virtmesh.kernel.tree.make import make_blob
from virtmesh.machine.file import parse
from virtmesh.machine.lines import key_lines
from virtmesh_common.errors import BadMachine

FILE = b"""
name = "lab"
memory = "128M"
doorbell = "eventfd"
[kernel]
listen = ["unix:/tmp/kernel.sock"]
[[devices]]
name = "vda"
kind = "blk"
slot = 3
image = "disk.img"
size = "64M"
quirks = "queue-ready"
[[devices]]
name = "keyboard"
kind = "input"
personality = "keyboard"
[[devices]]
name = "serial"
kind = "uart"
[[devices]]
name = "screen"
kind = "gpu"
mode = "640x480"
[cpu]
kernel = "Image"
time = "real"
"""


def run(data: bytes) -> None:
    """Read a file as both."""
    text = data.decode(errors="replace")
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return
    with suppress(BadMachine):
        machine = parse(document, source="fuzz", base=Path("/"), keys=key_lines(text))
        if machine.device_tree is None:
            make_blob(machine)
    with suppress(ValueError):
        personality.parse("fuzz", document)


def seeds() -> list[bytes]:
    """Return a machine, and every built-in personality."""
    folder = Path(personality.__file__).parent
    return [FILE, *(path.read_bytes() for path in sorted(folder.rglob("*.toml")))]


TARGET = stateless(run, seeds)
