"""Disks that serve vhost-user: ours, and qemu-storage-daemon's; each pinned, with one queue."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tests.bench.suite import builds
from tests.bench.suite.experiment import NotMeasured, Sample
from tests.bench.suite.probe import Probe, pinned, probing, python, running
from tests.support.cpu_time import cpu_us

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.suite.experiment import Setting

UP_S = 30.0
BLOCK = 1 << 20
PAGE = 4096
QSD = "qemu-storage-daemon"


@dataclass(frozen=True)
class Disk:
    """A disk that is served."""

    pid: int
    socket: Path


@dataclass(frozen=True)
class Load:
    """What a client of the disk does."""

    kind: str
    depth: int
    size: int = 4096
    order: str = "random"

    def line(self, seconds: float) -> str:
        """Return the command for the client."""
        return f"{self.kind} {self.depth} {self.size} {seconds:g} {self.order}"


class Driven:
    """A disk with its client."""

    def __init__(self, disk: Disk, client: Probe, seconds: float) -> None:
        self._disk = disk
        self._client = client
        self._seconds = seconds
        self._used = 0.0

    def measure(self, load: Load) -> Sample:
        """Measure once: the rate, percentiles, and the CPU time that the disk's process used."""
        self.begin(load)
        return self.finish()

    def begin(self, load: Load) -> None:
        """Begin to measure. Errors: NotMeasured."""
        self._used = cpu_us(self._disk.pid)
        self._client.send(load.line(self._seconds))

    def finish(self) -> Sample:
        """Wait for the end of what was begun. Errors: NotMeasured."""
        answer = self._client.answer(self._seconds)
        used = cpu_us(self._disk.pid) - self._used
        histogram = [(int(end), int(count)) for end, count in answer.pop("histogram_ns")]
        figures = {name: float(value) for name, value in answer.items()}
        figures["cpu_us"] = used / max(1.0, figures["requests"])
        return Sample(figures, histogram)


@cache
def options_of_blk() -> str:
    """Return the help of our disk service."""
    command = python("virtmesh.host.main", "blk", "--help")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def option(name: str, value: str) -> list[str]:
    """Return an option of our disk service. Errors: NotMeasured if it has none of that name."""
    if f"--{name}" not in options_of_blk().split():
        raise NotMeasured(f"virtmesh-device blk has no option --{name}")
    return [f"--{name}={value}"]


def image(setting: Setting, name: str, size: int | None = None, piece: int = PAGE) -> Path:
    """Make an image full of random bytes, which is in the page cache then.

    It is written in pieces as large as the requests will be: file systems keep what was written at
    once in one folio, and a small write into a large folio walks all blocks of it.
    """
    path = setting.folder / f"{name}.img"
    block = os.urandom(BLOCK)
    with path.open("wb", buffering=0) as file:
        for start in range(0, size or setting.image_bytes, piece):
            begin = start % BLOCK
            file.write(block[begin : begin + piece])
        os.fsync(file.fileno())
    return path


@contextmanager
def our_disk(
    setting: Setting, name: str, cpu: int, *options: str, piece: int = PAGE
) -> Iterator[Disk]:
    """Serve an image of its own by a real disk service, with its recorder and its sandbox."""
    socket = setting.sockets / f"{name}.vhost"
    module = python("virtmesh.host.main", "blk", "--name=vda")
    listen = f"--listen=unix:{setting.sockets / name}.sock"
    command = [*module, listen, f"--vhost-user={socket}"]
    command.append(f"--image={image(setting, name, piece=piece)}")
    with served(setting, name, pinned(cpu, *command, *options), socket) as disk:
        yield disk


@contextmanager
def their_disk(
    setting: Setting, name: str, cpu: int, *, null: bool = False, polls: bool = False
) -> Iterator[Disk]:
    """Serve an image, or nothing at all, by qemu-storage-daemon, whose page cache is the host's.

    With `polls` it has a thread of its own for the disk, which polls for up to 32 us, as that
    program does by default.
    """
    if shutil.which(QSD) is None:
        raise NotMeasured(f"there is no {QSD} (Debian: qemu-system-common)")
    socket = setting.sockets / f"{name}.vhost"
    if null:
        node = f"driver=null-co,node-name=disk,size={setting.image_bytes},read-zeroes=off"
    else:
        node = f"driver=file,node-name=disk,filename={image(setting, name)}"
    export = "type=vhost-user-blk,id=export,node-name=disk,writable=on,num-queues=1"
    words = ["--blockdev", node]
    if polls:
        words += ["--object", "iothread,id=thread"]
        export += ",iothread=thread"
    words += ["--export", f"{export},addr.type=unix,addr.path={socket}"]
    with served(setting, name, pinned(cpu, QSD, *words), socket) as disk:
        yield disk


@contextmanager
def served(setting: Setting, name: str, command: list[str], socket: Path) -> Iterator[Disk]:
    """Run a disk, and wait for its socket. Errors: NotMeasured."""
    log = setting.folder / f"{name}.log"
    with running(command, log) as process:
        socket_appears(socket, process, log)
        yield Disk(process.pid, socket)


def socket_appears(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the socket of a service. Errors: NotMeasured if it ends or takes too long."""
    end = time.monotonic() + UP_S
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > end:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise NotMeasured(f"{log.stem} does not serve: {' '.join(last)}")
        time.sleep(0.02)


@contextmanager
def driven(setting: Setting, disk: Disk, cpu: int) -> Iterator[Driven]:
    """Connect a client to a disk."""
    command = pinned(cpu, builds.client(), disk.socket, "bench")
    with probing(command, setting.folder / f"{disk.socket.stem}-client.log") as client:
        yield Driven(disk, client, setting.seconds)
