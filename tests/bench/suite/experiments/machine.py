"""Whole machines of `virtmesh up`: an import through the kernel service, and one more device."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.restart_processes import family, pss_mib
from tests.bench.suite.disks import BLOCK, image
from tests.bench.suite.experiment import PER_MIB, Experiment, NotMeasured, Point, Row, Sample
from tests.bench.suite.probe import PATIENCE_S, pinned, probing, python
from tests.support.cli import Cli
from virtmesh_client.local import rundir

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from tests.bench.suite.experiment import Setting

IMPORT = Row(
    "import",
    "import of a file through the kernel service as virtio requests, with flush",
    "cp --reflink=never and fsync",
    "MiB/s",
    "higher",
    0.7,
    figure="bytes_per_s",
    scale=PER_MIB,
)
KINDS = {"blk": ("--disk", "{folder}/{name}.img,size=16M"), "input": ("--input", "keyboard")}
MEMORY = tuple(
    Row(
        f"memory-{kind}",
        f"PSS of one more device of the kind {kind}, in a machine that has some",
        "1 MiB (the ratio is the number of MiB)",
        "MiB",
        "lower",
        10.0,
        figure="mib",
    )
    for kind in KINDS
)
FEW, MANY = 2, 5
"""Devices of the machines that are compared."""


@contextmanager
def machine(setting: Setting, name: str, *options: str) -> Iterator[Cli]:
    """Run a machine on all CPUs of this run. Errors: NotMeasured."""
    folder = setting.sockets / name
    folder.mkdir()
    cli = Cli(folder, wrapper=tuple(pinned(setting.cpus)))
    try:
        cli.up("--no-serial", *options)
    except RuntimeError as error:
        raise NotMeasured(f"no machine came up: {error}") from None
    try:
        yield cli
    finally:
        if rundir.load(cli.run_dir):
            cli("down")


@contextmanager
def importing(setting: Setting, names: Collection[str]) -> Iterator[dict[str, Point]]:
    """Start a machine with a disk, and make the file."""
    source = image(setting, "source", setting.import_bytes, piece=BLOCK)
    disk = f"{setting.folder / 'disk.img'},size={setting.import_bytes}"
    command = pinned(setting.cpus, *python("tests.bench.suite.probes.importing", source))
    with machine(setting, "import", "--disk", disk) as cli:
        own = {"env": {**os.environ, "VIRTMESH_RUN_DIR": str(cli.run_dir)}}
        with probing(command, setting.folder / "importing.log", **own) as probe:
            copied = partial(copy, setting, source)
            yield {name: Point(probe.sample, copied) for name in names}


def copy(setting: Setting, source: Path) -> Sample:
    """Copy a file, and make the copy durable."""
    target = setting.folder / "copy"
    start = time.perf_counter()
    command = pinned(setting.cpus, "cp", "--reflink=never", source, target)
    subprocess.run(command, check=True, timeout=PATIENCE_S)
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Sample({"bytes_per_s": source.stat().st_size / (time.perf_counter() - start)})


@contextmanager
def memory(setting: Setting, names: Collection[str]) -> Iterator[dict[str, Point]]:
    """Prepare to start machines: each measurement starts two."""
    numbers = iter(range(1 << 30))

    def measure(kind: str) -> Sample:
        few = pss_of(setting, f"m{next(numbers)}", kind, FEW)
        many = pss_of(setting, f"m{next(numbers)}", kind, MANY)
        return Sample({"mib": (many - few) / (MANY - FEW)})

    unit = Sample({"mib": 1.0})
    yield {name: Point(partial(measure, name.partition("-")[2]), lambda: unit) for name in names}


def pss_of(setting: Setting, name: str, kind: str, devices: int) -> float:
    """Return the memory of a machine with so many devices of a kind, in MiB."""
    flag, value = KINDS[kind]
    words = [
        word
        for number in range(devices)
        for word in (flag, value.format(folder=setting.sockets, name=f"{name}-{number}"))
    ]
    with machine(setting, name, *words) as cli:
        return pss_mib(family(cli.state.supervisor.pid))


def experiments() -> list[Experiment]:
    """List the experiments."""
    return [
        Experiment("import", "all CPUs of the run", (IMPORT,), importing),
        Experiment("memory", "all CPUs of the run", MEMORY, memory),
    ]
