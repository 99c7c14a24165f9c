"""A checker of power losses: what the last mark promises is on the disk.

python mark_checker.py IMAGE FOLDER: a mark "FILE OFFSET,FILE OFFSET" names files of the folder, and
the places of the disk where they are from then on.
"""

import os
import sys
from pathlib import Path


def check(image: Path, folder: Path, mark: str) -> str:
    """Return what is missing; empty if nothing is."""
    with image.open("rb") as disk:
        for promise in filter(None, mark.split(",")):
            name, offset = promise.split()
            wanted = (folder / name).read_bytes()
            disk.seek(int(offset))
            if disk.read(len(wanted)) != wanted:
                return f"{name} was done, and is not whole"
    return ""


if __name__ == "__main__":
    missing = check(Path(sys.argv[1]), Path(sys.argv[2]), os.environ["VIRTMESH_MARK"])
    sys.exit(missing or 0)
