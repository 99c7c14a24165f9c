"""Corpora as they are committed: a text file for each target, an input in hexadecimal on a line.

A line that begins with `#` is a remark, such as what an input once broke.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def read(name: str) -> list[bytes]:
    """Return the inputs that are committed for a target: none if it has no file."""
    path = FOLDER / f"{name}.hex"
    if not path.exists():
        return []
    lines = path.read_text(encoding="ascii").splitlines()
    return [bytes.fromhex(line) for line in lines if not line.startswith("#")]


def unpack(inputs: Iterable[bytes], folder: Path) -> None:
    """Write inputs as libFuzzer wants them: a file each, named by its content."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in inputs:
        name = hashlib.sha1(one, usedforsecurity=False).hexdigest()
        (folder / name).write_bytes(one)


def write(name: str, inputs: Iterable[bytes], *, most: int) -> int:
    """Commit inputs, the shortest first, up to so many bytes of text; return how many those are.

    Remarks stay, and so do the inputs below the first of them.
    """
    path = FOLDER / f"{name}.hex"
    kept: list[str] = []
    if path.exists():
        lines = path.read_text(encoding="ascii").splitlines()
        remarks = [place for place, line in enumerate(lines) if line.startswith("#")]
        kept = lines[remarks[0] :] if remarks else []
    taken: list[str] = []
    room = most - sum(len(line) + 1 for line in kept)
    for one in sorted(set(inputs), key=lambda data: (len(data), data)):
        room -= 2 * len(one) + 1
        if room < 0:
            break
        taken.append(one.hex())
    FOLDER.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in [*taken, *kept]), encoding="ascii")
    return len(taken)
