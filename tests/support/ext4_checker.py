"""A checker of power losses: an ext4 file system, and the files on it that were synced.

python ext4_checker.py IMAGE [FOLDER]: replays the journal, as a mount does, and has e2fsck look at
the rest. The folder has the files as they are to be: for the mark "synced N" the files f1 to fN
have to be there, whole, and g holds a number from N on, as it is replaced each time before the
mark.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CLEAN = (0, 1)
"""Statuses of e2fsck after it has replayed a journal."""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def check(image: str, expected: Path | None, mark: str) -> str:
    """Return what is wrong with an image; empty if nothing is."""
    replayed = run("e2fsck", "-y", "-E", "journal_only", image)
    if replayed.returncode not in CLEAN:
        return f"the journal can't be replayed: {replayed.stdout}{replayed.stderr}"
    found = run("e2fsck", "-fn", image)
    if found.returncode:
        return f"e2fsck: {found.stdout}{found.stderr}"
    synced = re.fullmatch(r"synced (\d+)", mark)
    if expected is None or synced is None:
        return ""
    return check_files(image, expected, int(synced[1]))


def check_files(image: str, expected: Path, count: int) -> str:
    """Return which of the synced files is not as it is to be."""
    with tempfile.TemporaryDirectory() as folder:
        run("debugfs", "-R", f"rdump / {folder}", image)
        for number in range(1, count + 1):
            there = Path(folder) / f"f{number}"
            wanted = (expected / f"f{number}").read_bytes()
            if not there.is_file():
                return f"f{number} was synced, and is not there"
            if there.read_bytes() != wanted:
                return f"f{number} was synced, and has other content"
        replaced = Path(folder) / "g"
        if not replaced.is_file() or int(replaced.read_text() or 0) < count:
            return f"g was replaced {count} times, and is an older one"
    return ""


if __name__ == "__main__":
    wrong = check(
        sys.argv[1],
        Path(sys.argv[2]) if len(sys.argv) > 2 else None,
        os.environ.get("VIRTMESH_MARK", ""),
    )
    sys.exit(wrong or 0)
