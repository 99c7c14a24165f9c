"""A guest that redraws its whole screen, watched: `virtmesh boot` beside QEMU and its VNC server.

Usage: python -m tests.bench.guest_screen [--guests FOLDER] [--rounds N] [--seconds S]

The guests are the same: Debian's riscv64 kernel with a screen of 1280x800. Either modetest flips
between two pictures as fast as it can: each flip is a transfer and a flush of everything, and
costs the guest nothing else. Or a loop in the shell writes one picture after the other to
/dev/fb0, which keeps the guest's processor busy. QEMU translates code (TCG); its GPU is virtio-
gpu on virtio-mmio.

The ways to watch take turns: virtmesh's Watch, its VNC server, QEMU's VNC server (both Raw, over
a socket of this host). Each viewer is in this process, and throws the pixels away. A frame is an
update that has nine tenths of the picture or more. CPU time is that of what shows: of virtmesh
the processes of the GPU and of the VNC server, of QEMU all threads but that of the processor. It
prints medians and quartiles, and asserts nothing. FOLDER is what `tools/guests.sh FOLDER riscv64`
has filled. It needs qemu-system-riscv64.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from tests.bench.boot import spell
from tests.support.cli import Cli, own_folder
from tests.support.guest import Guest
from tests.support.rfb_frames import RfbFrames
from tests.support.riscv.boot import APPEND, DISK, at_shell
from tests.support.riscv.console import reach_shell, running
from tests.support.riscv.parts import Parts
from tests.support.riscv.qemu import command as qemu_command
from tests.support.riscv.writing import MEBIBYTES, make_disk
from virtmesh_client import connect

WIDTH, HEIGHT = 1280, 800
PATIENCE = 60.0
"""Longest wait for a VNC server, in seconds."""
WHOLE = 0.9
"""Part of the picture that makes an update a frame."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
UTIME, STIME = 11, 12
"""Fields of /proc/PID/stat after the name, from 0."""
PROCESSOR = "CPU 0/TCG"
"""QEMU's thread that is the processor."""
MODETEST = "/mnt/ld-linux-riscv64-lp64d.so.1 --library-path /mnt /mnt/modetest -M virtio_gpu"
CONNECTOR = re.compile(r"^(\d+)\t\d+\tconnected", re.MULTILINE)
FLIPS, WRITES = "flips of pages", "writes to /dev/fb0"
SIZE = WIDTH * HEIGHT * 4
LOOP = (
    "count=0; while [ -e /run/draw ]; do for name in a b; do"
    f" dd if=/run/$name of=/dev/fb0 bs={SIZE} 2> /dev/null; count=$((count + 1)); done;"
    " echo $count > /run/count; done"
)
FREQUENCY = re.compile(r"freq: ([\d.]+)Hz")
LISTENS = re.compile(r"(\d+\.\d+\.\d+\.\d+):(\d+)")
FIGURES = {
    "frames": "frames a second",
    "drawn": "redraws a second, as the guest counts",
    "cpu": "CPU time of a frame, ms",
    "load": "CPU time of a second, s",
    "megabytes": "pixels a second, MB",
}

Figures = dict[str, float]
"""What one way has measured, by name."""
Update = Callable[[], float]
"""Reads an update; returns which part of the picture is in it."""


class Side:
    """One guest, ready to flip."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        found = CONNECTOR.search(guest.run(f"{MODETEST} -c"))
        if found is None:
            sys.exit("modetest finds no screen")
        self._connector = found[1]
        self._drawn: list[float] = []
        self._begun = 0.0

    @contextmanager
    def drawing(self, how: str) -> Iterator[None]:
        """Have the guest redraw its screen."""
        with self._flipping() if how == FLIPS else self._writing():
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Have a loop write to the framebuffer."""
        self._guest.run("printf '\\033[?25l' > /dev/tty1; touch /run/draw; rm -f /run/count")
        for name in "ab":
            self._guest.run(f"tr '\\0' {name} < /dev/zero | head -c {SIZE} > /run/{name}")
        self._begun = time.monotonic()
        self._guest.run(f"sh -c '{LOOP}' & draws=$!")
        yield
        self._guest.run("rm /run/draw; wait $draws")
        took = time.monotonic() - self._begun
        self._drawn = [float(self._guest.run("cat /run/count")) / took]

    @contextmanager
    def _flipping(self) -> Iterator[None]:
        """Have modetest flip."""
        options = f"-s {self._connector}:{WIDTH}x{HEIGHT}@XR24 -F tiles,plain -v"
        self._guest.run("rm -f /run/keys; mkfifo /run/keys; sleep 9999 > /run/keys & keys=$!")
        self._guest.run(f"{MODETEST} {options} < /run/keys > /run/said 2>&1 & flips=$!")
        yield
        self._guest.run("kill $keys; wait $flips")
        self._drawn = [
            float(found) for found in FREQUENCY.findall(self._guest.run("cat /run/said"))
        ]

    @property
    def drawn(self) -> float:
        """Times a second that the guest says that it has redrawn its screen."""
        return mean(self._drawn) if self._drawn else 0.0


def spent(*stats: Path) -> float:
    """Return the CPU time of processes or threads, by their `stat`, in seconds."""
    ticks = 0
    for stat in stats:
        fields = stat.read_text().rpartition(")")[2].split()
        ticks += int(fields[UTIME]) + int(fields[STIME])
    return ticks / TICKS_PER_S


@dataclass(frozen=True)
class Plan:
    """How a guest draws, and how long it is watched, in seconds."""

    how: str
    seconds: float


def watch(side: Side, update: Update, cpu: Callable[[], float], plan: Plan) -> Figures:
    """Watch a guest that draws; return the figures."""
    with side.drawing(plan.how):
        for _ in range(10):
            update()
        frames, pixels, before, start = 0, 0.0, cpu(), time.monotonic()
        while time.monotonic() < start + plan.seconds:
            part = update()
            frames += part >= WHOLE
            pixels += part
        took, used = time.monotonic() - start, cpu() - before
    return {
        "frames": frames / took,
        "drawn": side.drawn,
        "cpu": 1e3 * used / frames if frames else 0.0,
        "load": used / took,
        "megabytes": pixels * WIDTH * HEIGHT * 4 / took / 1e6,
    }


def by_watch(side: Side, cli: Cli, plan: Plan) -> Figures:
    """Watch by virtmesh's Watch."""
    gpu = Path(f"/proc/{cli.process('gpu0').pid}/stat")
    with connect(cli.state.address) as machine, machine.screen("gpu0").watch() as updates:

        def update() -> float:
            changes = next(updates).changes
            return sum(one.width * one.height for one in changes) / (WIDTH * HEIGHT)

        return watch(side, update, lambda: spent(gpu), plan)


def by_vnc(side: Side, cli: Cli, plan: Plan) -> Figures:
    """Watch by virtmesh's VNC server."""
    command = [sys.executable, "-P", "-m", "virtmesh_client", "screen", "vnc", "gpu0"]
    environment = {**os.environ, "VIRTMESH_RUN_DIR": str(cli.run_dir), **cli.environment}
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0"],
        cwd=cli.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            told = next(filter(None, map(LISTENS.search, server.stdout)), None)
            if told is None:
                sys.exit("the VNC server does not start")
            stats = [Path(f"/proc/{pid}/stat") for pid in (cli.process("gpu0").pid, server.pid)]
            with RfbFrames(socket.create_connection((told[1], int(told[2])), PATIENCE)) as viewer:
                return watch(side, viewer.update, lambda: spent(*stats), plan)
        finally:
            server.terminate()


def by_qemu(side: Side, pid: int, path: Path, plan: Plan) -> Figures:
    """Watch by QEMU's VNC server."""

    def cpu() -> float:
        threads = [
            one / "stat"
            for one in Path(f"/proc/{pid}/task").iterdir()
            if (one / "comm").read_text().strip() != PROCESSOR
        ]
        return spent(*threads)

    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(str(path))
    with RfbFrames(connection) as viewer:
        return watch(side, viewer.update, cpu, plan)


@contextmanager
def qemu(parts: Parts, files: list[Path]) -> Iterator[tuple[Side, int, Path]]:
    """Boot on QEMU; gives the guest, the process and the socket of the VNC server."""
    with own_folder() as cli:
        make_disk(cli.folder / DISK, MEBIBYTES, *files)
        path = cli.folder / "vnc"
        command = qemu_command(parts, cli.folder / DISK, append=APPEND)
        command += [
            "-device",
            f"virtio-gpu-device,bus=virtio-mmio-bus.1,xres={WIDTH},yres={HEIGHT}",
        ]
        command += ["-vnc", f"unix:{path}", "-name", "guest,debug-threads=on"]
        with running(command, cli.folder) as guest:
            reach_shell(guest)
            yield Side(guest), guest.console.pid or 0, path


def main() -> None:
    """Boot both guests, let the ways take turns, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--guests", type=Path, default=Path("build/guests"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    parts = Parts(options.guests.absolute() / "riscv64")
    if not (parts.folder / "drm/modetest").exists():
        sys.exit(f"modetest is missing: tools/guests.sh {options.guests} riscv64")
    files = sorted(path for path in (parts.folder / "drm").iterdir() if path.stat().st_size)
    with ExitStack() as stack:
        device = f"gpu,name=gpu0,mode={WIDTH}x{HEIGHT}"
        machine = ("--device", device, "--time", "real")
        rig = stack.enter_context(at_shell(parts, *machine, files=files))
        peer, pid, path = stack.enter_context(qemu(parts, files))
        side = Side(rig.guest)
        ways: dict[str, Callable[[Plan], Figures]] = {
            "virtmesh, Watch": lambda plan: by_watch(side, rig.cli, plan),
            "virtmesh, VNC": lambda plan: by_vnc(side, rig.cli, plan),
            "QEMU, VNC": lambda plan: by_qemu(peer, pid, path, plan),
        }
        for how in (FLIPS, WRITES):
            Console().print(measure(ways, Plan(how, options.seconds), options.rounds))


def measure(ways: Mapping[str, Callable[[Plan], Figures]], plan: Plan, rounds: int) -> Table:
    """Let the ways take turns, and make the table."""
    order, found = list(ways), {way: list[Figures]() for way in ways}
    for _ in range(rounds):
        for way in order:
            found[way].append(ways[way](plan))
        order.append(order.pop(0))
    title = f"{rounds} interleaved rounds of {plan.seconds:g} s: median (quartiles)"
    table = Table(f"{WIDTH}x{HEIGHT}, {plan.how}", *ways, title=title)
    for name, text in FIGURES.items():
        table.add_row(text, *(spell([one[name] for one in found[way]]) for way in ways))
    return table


if __name__ == "__main__":
    main()
