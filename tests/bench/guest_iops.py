"""How a guest's disk does beside qemu-storage-daemon: both serve the same image to the same guest.

Usage: python tests/bench/guest_iops.py uml|qemu [--rounds N] [--seconds N] [--guests FOLDER]

A guest has three disks: one of virtmesh with split rings, qemu-storage-daemon's (which has no
packed rings) with the same file, and one of virtmesh with packed rings and a copy of that file. fio
in the guest takes them in turn, round after round; a ratio is the median of the rounds' ratios.
FOLDER is what tools/guests.sh has filled. Nothing is asserted. `taskset -c 0 python ...` leaves the
guest and its disks one CPU: the figures then tell what a request costs all of them together.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.support.cli import Cli, eventually, own_folder
from tests.support.guest import Guest, booted

IMAGE_BYTES = 256 << 20
MINE, PEER, PACKED = "split", "storage daemon", "packed"
DISKS = (MINE, PEER, PACKED)
"""In the order of the guest: vda, vdb, vdc."""
JOBS = {
    "read 4 KiB, depth 1": "--rw=randread --bs=4k --iodepth=1",
    "read 4 KiB, depth 32": "--rw=randread --bs=4k --iodepth=32",
    "write 4 KiB, depth 1": "--rw=randwrite --bs=4k --iodepth=1",
    "write 4 KiB, depth 32": "--rw=randwrite --bs=4k --iodepth=32",
    "read 128 KiB in order, depth 4": "--rw=read --bs=128k --iodepth=4",
}
HOW = "--direct=1 --ioengine=libaio --thread --time_based --minimal --terse-version=3"
READ_IOPS, WRITE_IOPS = 7, 48
"""Fields of fio's terse output, version 3, from 0."""

Rates = dict[str, float]
"""Requests per second, by disk."""


@dataclass(frozen=True)
class Options:
    """The command line."""

    guest: str
    rounds: int
    seconds: int
    guests: Path


@contextmanager
def served(folder: Path, name: str, command: Sequence[str | Path]) -> Iterator[None]:
    """Run what serves a disk at the socket NAME.sock of the folder."""
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as process:
        try:
            eventually((folder / f"{name}.sock").exists)
            yield
        finally:
            process.terminate()


def device(name: str, image: str, *options: str) -> list[str]:
    """Return the command of a disk of virtmesh."""
    command = [sys.executable, "-m", "virtmesh.host.main", "blk", f"--name={name}"]
    places = [f"--listen=unix:{name}.grpc", f"--vhost-user={name}.sock"]
    return [*command, *places, f"--image={image}", *options]


def storage_daemon(name: str, image: str) -> list[str]:
    """Return the command of QEMU's; it caches as virtmesh does, and takes a file that is locked."""
    blockdev = f"driver=file,node-name=disk,filename={image},locking=off,discard=unmap"
    export = "type=vhost-user-blk,id=export,node-name=disk,writable=on"
    command = ["qemu-storage-daemon", "--blockdev", blockdev]
    return [*command, "--export", f"{export},addr.type=unix,addr.path={name}.sock"]


def boot(options: Options, cli: Cli, disks: ExitStack) -> Guest:
    """Start the disks, and a guest on them."""
    folder = cli.folder
    content = os.urandom(IMAGE_BYTES)
    # Written alike: how large the pieces of a file are in the page cache is half of a write's cost.
    for name in ("disk.img", "copy.img"):
        (folder / name).write_bytes(content)
    commands = {
        "vda": device("vda", "disk.img", "--without=ring_packed"),
        "vdb": storage_daemon("vdb", "disk.img"),
        "vdc": device("vdc", "copy.img"),
    }
    for name, command in commands.items():
        disks.enter_context(served(folder, name, command))
    arguments = ["--root=none", "--with=fio", *(f"--blk-socket={name}.sock" for name in commands)]
    if options.guest == "qemu":
        own = options.guests / "usr/bin/qemu-system-x86_64"
        arguments += [f"--kernel={options.guests}", "--packed"]
        arguments += [f"--qemu={own}"] if own.exists() else []
    return disks.enter_context(booted(cli, options.guest, *arguments))


def measure(guest: Guest, disk: int, job: str, seconds: int) -> float:
    """Return the requests per second of a job."""
    name = f"/dev/vd{'abc'[disk]}"
    size = f"--size={IMAGE_BYTES} --runtime={seconds}"
    said = guest.run(f"fio --name=job --filename={name} {HOW} {size} {job}")
    fields = next(line for line in said.splitlines() if line.startswith("3;")).split(";")
    return float(fields[READ_IOPS]) + float(fields[WRITE_IOPS])


def measure_all(guest: Guest, rounds: int, seconds: int) -> dict[str, list[Rates]]:
    """Take every job on every disk in turn, round after round; the order turns too."""
    rates: dict[str, list[Rates]] = {job: [] for job in JOBS}
    order = list(range(len(DISKS)))
    for _ in range(rounds):
        order.append(order.pop(0))
        for job, rows in rates.items():
            rows.append({DISKS[disk]: measure(guest, disk, JOBS[job], seconds) for disk in order})
    return rates


def show(options: Options, rates: dict[str, list[Rates]]) -> None:
    """Print the table."""
    table = Table(title=f"{options.guest}: requests per second, {options.rounds} rounds")
    columns = ("job", *DISKS, f"{MINE} / daemon", f"{PACKED} / daemon")
    for column in columns:
        table.add_column(column, justify="left" if column == "job" else "right")
    for job, rows in rates.items():
        absolute = (f"{median(row[disk] for row in rows):.0f}" for disk in DISKS)
        ratios = (f"{median(row[disk] / row[PEER] for row in rows):.2f}" for disk in (MINE, PACKED))
        table.add_row(job, *absolute, *ratios)
    Console(width=110).print(table)


def main() -> None:
    """Boot, measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("guest", choices=("uml", "qemu"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each job")
    parser.add_argument("--guests", type=Path, default=Path("build/guests"))
    options = Options(**vars(parser.parse_args()))
    options = Options(options.guest, options.rounds, options.seconds, options.guests.absolute())
    with own_folder() as cli, ExitStack() as disks:
        guest = boot(options, cli, disks)
        show(options, measure_all(guest, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
