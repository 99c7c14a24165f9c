"""How fast a full screen of 1280x800 is redrawn over VNC, beside Watch, and what it costs.

Usage: python -m tests.bench.vnc [--frames N] [--rounds N] [--json]

Real processes: a GPU service with a driver that draws a frame when it is told to (both in one), the
command `virtmesh screen vnc`, and this one, which reads what comes and decodes nothing. Each frame
is drawn when the one before has arrived as a whole. "text" is a screen of characters in two
colours, "picture" is smooth with some noise, "noise" is the worst case. CPU is that of the VNC
server, and of the GPU service with its driver, for each frame. The encodings take turns in each
round; figures are medians of the rounds. It asserts nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

import virtmesh_client
from tests.support.drawn_screen import drawn_screen
from tests.support.rfb_meter import ENCODINGS, RfbMeter

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH, HEIGHT = 1280, 800
TICKS = os.sysconf("SC_CLK_TCK")
LINE = "root@virtmesh:~# dmesg | tail -n 40; ls -l /sys/class/drm /sys/class/graphics; uname -a "
WATCH = "Watch"


def pictures() -> dict[str, list[bytes]]:
    """Return two frames of each kind, which differ in every place."""
    dice = np.random.default_rng(1)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    smooth = (columns // 5 & 255) | (rows // 4 & 255) << 8 | ((columns + rows) // 9 & 255) << 16
    shaken = smooth.astype(np.uint32) ^ dice.integers(0, 4, (HEIGHT, WIDTH), dtype=np.uint32)
    noise = dice.integers(0, 1 << 24, (HEIGHT, WIDTH), dtype=np.uint32)
    return {
        "text": [text(0xAAAAAA, 0), text(0, 0xAAAAAA)],
        "picture": [shaken.tobytes(), (shaken ^ 0xFFFFFF).astype(np.uint32).tobytes()],
        "noise": [noise.tobytes(), (noise ^ 0xFFFFFF).astype(np.uint32).tobytes()],
    }


def text(colour: int, ground: int) -> bytes:
    """Return a screen full of characters."""
    image = Image.new("1", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"
    for row in range(0, HEIGHT, 16):
        draw.text((0, row), (LINE * 4)[row // 16 :], fill=1)
    chosen = np.where(np.array(image), colour, ground).astype(np.uint32)
    return chosen.tobytes()


def draw_frames(folder: Path) -> None:
    """Serve a GPU, and draw the frame whose kind and number come as a line."""
    frames = pictures()
    with drawn_screen(folder) as drawn:
        drawn.show(WIDTH, HEIGHT, frames["text"][0])
        sys.stdout.write(f"\n{drawn.address}\n")
        sys.stdout.flush()
        for line in sys.stdin:
            kind, number = line.split()
            drawn.draw(0, 0, WIDTH, HEIGHT, frames[kind][int(number) % 2])


@dataclass
class Bench:
    """The processes."""

    drawer: subprocess.Popen[str]
    server: subprocess.Popen[str]
    address: str
    port: int

    def draw(self, kind: str, number: int) -> None:
        """Have a frame drawn."""
        assert self.drawer.stdin is not None
        self.drawer.stdin.write(f"{kind} {number}\n")
        self.drawer.stdin.flush()

    def cpu(self) -> tuple[float, float]:
        """Return the seconds that the VNC server and the GPU have worked."""
        return cpu_of(self.server.pid), cpu_of(self.drawer.pid)


def cpu_of(pid: int) -> float:
    """Return the seconds that a process has worked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextlib.contextmanager
def processes() -> Iterator[Bench]:
    """Start the processes."""
    with tempfile.TemporaryDirectory(prefix="vm-") as folder, contextlib.ExitStack() as stack:

        def start(*command: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        drawer = start("tests.bench.vnc", "--draw", folder)
        address = read_line(drawer, "unix:")
        server = start(
            "virtmesh_client", "--address", address, "screen", "vnc", "gpu0", "--view-only",
            "--listen", "127.0.0.1:0", "--json",
        )  # fmt: skip
        port = json.loads(read_line(server, "{"))["port"]
        yield Bench(drawer, server, address, port)


def read_line(process: subprocess.Popen[str], start: str) -> str:
    """Return the first line that begins so."""
    assert process.stdout is not None
    return next(line.strip() for line in process.stdout if line.startswith(start))


def by_vnc(bench: Bench, encoding: str, kind: str, frames: int) -> dict[str, float]:
    """Measure frames over VNC."""
    with RfbMeter("127.0.0.1", bench.port, encoding) as meter:
        meter.ask(whole=True)
        meter.screen()
        meter.ask()
        bench.draw(kind, 1)
        meter.screen()
        meter.bytes = 0
        before, begun = bench.cpu(), time.perf_counter()
        for number in range(frames):
            meter.ask()
            bench.draw(kind, number)
            meter.screen()
        return figures(bench, before, begun, frames, meter.bytes)


def by_watch(bench: Bench, kind: str, frames: int) -> dict[str, float]:
    """Measure frames by Watch."""
    size = 0
    with (
        virtmesh_client.connect(bench.address) as machine,
        machine.screen("gpu0").watch() as updates,
    ):
        next(updates)
        bench.draw(kind, 1)
        next(updates)
        before, begun = bench.cpu(), time.perf_counter()
        for number in range(frames):
            bench.draw(kind, number)
            size += next(updates).pixel_bytes
        return figures(bench, before, begun, frames, size)


def figures(
    bench: Bench, before: tuple[float, float], begun: float, frames: int, size: int
) -> dict[str, float]:
    """Return what was measured, for each frame."""
    took = time.perf_counter() - begun
    server, gpu = (now - then for now, then in zip(bench.cpu(), before, strict=True))
    return {
        "frames/s": frames / took,
        "KiB": size / frames / 1024,
        "server CPU, ms": 1e3 * server / frames,
        "GPU CPU, ms": 1e3 * gpu / frames,
    }


def run(frames: int, rounds: int) -> dict[str, dict[str, float]]:
    """Measure in turns; return the medians of each way."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    with processes() as bench:
        for _ in range(rounds):
            for kind in ("text", "picture", "noise"):
                found[f"{kind}, {WATCH}"].append(by_watch(bench, kind, frames))
                for encoding in ENCODINGS:
                    found[f"{kind}, {encoding}"].append(by_vnc(bench, encoding, kind, frames))
    return {
        way: {name: median(one[name] for one in rows) for name in rows[0]}
        for way, rows in found.items()
    }


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=30, help="frames of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--draw", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.draw:
        draw_frames(options.draw)
        return
    found = run(options.frames, options.rounds)
    table = Table(title=f"a full screen of {WIDTH}x{HEIGHT}, {options.rounds} rounds")
    table.add_column("what")
    names = list(next(iter(found.values())))
    for name in names:
        table.add_column(name, justify="right")
    for way, row in found.items():
        table.add_row(way, *(f"{row[name]:.1f}" for name in names))
    Console().print(table)
    if options.json:
        flat = {f"{way}, {name}": row[name] for way, row in found.items() for name in names}
        sys.stdout.write(json.dumps(flat) + "\n")


if __name__ == "__main__":
    main()
