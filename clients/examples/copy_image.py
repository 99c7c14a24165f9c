"""Copy an image to a disk, show the progress, and read a part of it back.

Usage: python copy_image.py IMAGE [DEVICE]
"""

# ruff: noqa: INP001, T201 - a script for people

from __future__ import annotations

import sys

import virtmesh_client


def main(image: str, device: str = "vda") -> int:
    """Copy the image. Returns the exit status."""
    with virtmesh_client.connect() as machine:
        disk = machine.disk(device)
        try:
            copy = disk.import_from(image, verify=True, progress=show)
        except virtmesh_client.errors.VirtmeshError as error:
            written = error.metadata.get("written_bytes", "0")
            print(f"\n{error}; {written} bytes were written to {device}", file=sys.stderr)
            return 1
        print(f"\n{copy.bytes} bytes at {copy.bytes_per_second / 1e6:.0f} MB/s, {copy.sha256}")
        print(disk.read(offset=1024, length=32).hex(" "))
    return 0


def show(done: int) -> None:
    """Show progress on one line."""
    print(f"\r{done >> 20} MiB", end="", flush=True)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
