"""Debian's riscv64 Linux to its prompt: `virtmesh boot` beside QEMU, in turns.

Usage: python -m tests.bench.boot [--guests FOLDER] [--rounds N] [--json]

Kernel, firmware, initramfs, command line and devices (a serial port, a disk, keyboard, mouse and
tablet) are the same for each; QEMU translates code, as a user's does (TCG, virtio-mmio). virtmesh
boots in real time and in the time of instructions. The wall clock runs from the start of the
command to the prompt; of virtmesh also from the end of its own start, when every device is attached
and the guest boots. CPU time is that of all processes of the machine to the prompt. A ratio is to
QEMU's boot of the same round. Time awake is that of the run without WFI. FOLDER is what
`tools/guests.sh FOLDER riscv64` has filled. `--json` prints one object of figures, for compare.py.
Nothing is asserted. It needs qemu-system-riscv64.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

from tests.support.cli import Cli, own_folder
from tests.support.guest import PROMPT, Guest
from tests.support.riscv.boot import DISK, INPUTS, TOLD, apart, environment, linux_command
from tests.support.riscv.console import BOOT_SECONDS, running
from tests.support.riscv.parts import Parts
from tests.support.riscv.qemu import command as qemu_command
from tests.support.riscv.writing import make_disk

QEMU = "QEMU"
MODES = ("real", "instructions")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
FIRST_TIME, LAST_TIME = 11, 15
"""utime to cstime: fields of /proc/PID/stat after the name of the program, from 0."""
PARENT = 1
FIGURES = {
    "wall s": "to the prompt, s",
    "boot s": "of it after the start of the machine, s",
    "cpu s": "CPU time, s",
    "wall ratio": "wall clock / QEMU's",
    "boot ratio": "after the start / QEMU's",
    "cpu ratio": "CPU time / QEMU's",
    "instructions": "instructions",
    "MIPS": "MIPS, awake",
    "mmio": "register accesses",
    "mmio us": "one of them, us",
    "mmio %": "share of them in the time awake, %",
    "wfi s": "asleep in WFI, s",
}
"""What is measured, and how the table says it."""

Figures = dict[str, float]
"""What one boot has measured, by name."""


def spent(root: int | None) -> float:
    """Return the CPU time of a process and of all that descend from it, in seconds."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(entry.parent.name)
        ticks[pid] = sum(map(int, fields[FIRST_TIME:LAST_TIME]))
        children.setdefault(int(fields[PARENT]), []).append(pid)
    found = [root or 0]
    for pid in found:
        found += children.get(pid, [])
    return sum(ticks.get(pid, 0) for pid in found) / TICKS_PER_S


def to_prompt(guest: Guest, begun: float) -> Figures:
    """Wait for the prompt."""
    guest.expect(re.escape(PROMPT), BOOT_SECONDS)
    wall = time.time() - begun
    return {"wall s": wall, "cpu s": spent(guest.console.pid)}


def boot_qemu(parts: Parts) -> Figures:
    """Boot on QEMU."""
    with own_folder() as cli:
        make_disk(cli.folder / DISK)
        command = qemu_command(parts, cli.folder / DISK, INPUTS)
        begun = time.time()
        with running(command, cli.folder) as guest:
            return to_prompt(guest, begun)


def boot_virtmesh(parts: Parts, mode: str) -> Figures:
    """Boot on virtmesh; `mode` is what the guest's clock follows."""
    with own_folder() as cli:
        make_disk(cli.folder / DISK)
        devices = [f"--disk={DISK}", *(f"--input={name}" for name in INPUTS)]
        command = apart(linux_command(parts, *devices, "--time", mode))
        begun = time.time()
        with running(command, cli.folder, environment(cli)) as guest:
            figures = to_prompt(guest, begun)
            # What it tells last is that the machine is ready.
            ready = (cli.folder / TOLD).stat().st_mtime
            figures["boot s"] = figures["wall s"] - (ready - begun)
            return figures | counted(cli)


def counted(cli: Cli) -> Figures:
    """Return what the board has counted."""
    stats = json.loads(cli("cpu", "stats", "--json").stdout)
    awake = stats["run_ns"] - stats["wfi_ns"]
    return {
        "instructions": stats["instructions"],
        "MIPS": 1e3 * stats["instructions"] / awake,
        "mmio": stats["mmio_accesses"],
        "mmio us": stats["mmio_ns"] / 1e3 / stats["mmio_accesses"],
        "mmio %": 100 * stats["mmio_ns"] / awake,
        "wfi s": stats["wfi_ns"] / 1e9,
    }


def one_round(
    ways: Mapping[str, Callable[[], Figures]], order: Sequence[str]
) -> dict[str, Figures]:
    """Boot in every way, and add the ratios."""
    found = {way: ways[way]() for way in order}
    peer = found[QEMU]
    for way in MODES:
        mine = found[way]
        mine["wall ratio"] = mine["wall s"] / peer["wall s"]
        mine["boot ratio"] = mine["boot s"] / peer["wall s"]
        mine["cpu ratio"] = mine["cpu s"] / peer["cpu s"]
    return found


def spell(values: Sequence[float]) -> str:
    """Return the median, and the quartiles where there are enough values."""
    if not values:
        return ""
    middle = f"{median(values):,.{0 if median(values) > 1000 else 2}f}"
    if len(values) < 3:
        return middle
    low, _, high = quantiles(values, n=4, method="inclusive")
    digits = 0 if median(values) > 1000 else 2
    return f"{middle} ({low:,.{digits}f} to {high:,.{digits}f})"


def table(rounds: Sequence[Mapping[str, Figures]]) -> Table:
    """Make the table of all rounds."""
    title = f"{len(rounds)} interleaved rounds: median (quartiles)"
    result = Table("Debian's kernel to the prompt", QEMU, *MODES, title=title)
    for name, text in FIGURES.items():
        rows = [[one[way][name] for one in rounds if name in one[way]] for way in (QEMU, *MODES)]
        result.add_row(text, *map(spell, rows))
    return result


def main() -> None:
    """Boot in turns, and print the table or the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--guests", type=Path, default=Path("build/guests"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    options = parser.parse_args()
    parts = Parts(options.guests.absolute() / "riscv64")
    if not parts.initramfs.exists():
        sys.exit(f"{parts.initramfs} is missing: tools/guests.sh {options.guests} riscv64")
    ways: dict[str, Callable[[], Figures]] = {QEMU: partial(boot_qemu, parts)}
    ways |= {mode: partial(boot_virtmesh, parts, mode) for mode in MODES}
    order = list(ways)
    rounds = []
    for _ in range(options.rounds):
        order.append(order.pop(0))
        rounds.append(one_round(ways, order))
    if not options.json:
        Console().print(table(rounds))
        return
    figures = {
        f"{way} {name}": median(one[way][name] for one in rounds)
        for way in ways
        for name in rounds[0][way]
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
