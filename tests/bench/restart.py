"""Starting and restarting a machine, beside an older tree, in turns.

Usage: python -m tests.bench.restart --old TREE [--python PYTHON] [ROUNDS]

Each tree has its virtual environment in TREE/.venv; --python takes the place of this one. Each
round starts a machine of six services (a disk, three inputs, a serial port, the kernel service) in
each tree and measures: the time of `virtmesh up -d` until it returns, and the CPU time of it and of
all processes of the machine until then; their memory (PSS) when it is ready and after some load;
the time from kill -9 of the disk until a client has read from it again, which retries if its
library does not. Then the processes that containers run are started one at a time: time until they
serve, and their PSS. Both trees have the bytecode of their modules, as installed packages have. The
first round is dropped. Ratios are old / new of the same round. PSS is lower while other processes
of the same files run elsewhere. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

from tests.bench.restart_processes import cpu_seconds, family, pss_mib
from virtmesh_common.printable import say

DEVICES = (
    *("--disk", "disk.img,size=64M"),
    *("--input", "keyboard", "--input", "mouse", "--input", "tablet"),
)
"""A serial port and the kernel service come along."""
CLIENT = """
import select, sys, time
import virtmesh_client
with virtmesh_client.connect(sys.argv[1]) as machine:
    disk = machine.disk("vda")
    for number in range(400):
        disk.write(number * 65536, bytes([number % 251]) * 65536)
        disk.read(number * 65536, 4096)
    print("loaded", flush=True)
    killed = float(sys.stdin.readline())
    while True:
        try:
            disk.read(0, 512)
        except Exception:  # each tree has its class
            time.sleep(0.005)
        else:
            break
    print(time.monotonic() - killed, flush=True)
"""
"""Loads the disk; after the line that says when that was killed, reads until it succeeds."""
WAIT_S = 60
CONTAINERS = {
    "device": ("virtmesh-device", "input", "--name", "keyboard", "--personality", "keyboard"),
    "kernel": ("virtmesh-kernel", "--machine", "machine.toml"),
}
"""What images run, without the address."""
Figures = dict[str, float]


class Tree:
    """A version of the code, with the Python that runs it."""

    def __init__(self, python: Path, cache: Path) -> None:
        self.python = python
        self.environment = {
            key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"
        } | {"PYTHONPYCACHEPREFIX": str(cache)}

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command line of an installed program."""
        return [str(self.python), "-P", str(self.python.parent / program), *arguments]


def measure(tree: Tree) -> Figures:
    """Measure one round of a tree, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="vm-") as name:
        folder = Path(name)
        figures = measure_machine(tree, folder)
        figures |= measure_containers(tree, folder)
        return figures


def measure_machine(tree: Tree, folder: Path) -> Figures:
    """Start a machine, load it, kill its disk, stop it."""
    run_dir = ("--run-dir", str(folder / "run"))
    begun = time.monotonic()
    up = subprocess.Popen(
        tree.command("virtmesh", "up", "--detach", *DEVICES, *run_dir),
        cwd=folder,
        env=tree.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(up.pid, 0)
    figures = {"up -d, s": time.monotonic() - begun}
    up.returncode = os.waitstatus_to_exitcode(status)
    if up.returncode:
        raise subprocess.CalledProcessError(up.returncode, up.args)
    state = json.loads((folder / "run/state.json").read_text())
    machine = family(state["supervisor"]["pid"])
    figures["CPU of it, s"] = usage.ru_utime + usage.ru_stime + cpu_seconds(machine)
    figures["PSS ready, MiB"] = pss_mib(machine)
    try:
        disk = next(one["pid"] for one in state["processes"] if one["name"] == "vda")
        figures |= measure_outage(tree, folder, state["supervisor"]["pid"], disk)
    finally:
        down = tree.command("virtmesh", "down", *run_dir)
        subprocess.run(down, env=tree.environment, stdout=subprocess.DEVNULL, check=True)
    return figures


def measure_outage(tree: Tree, folder: Path, supervisor: int, disk: int) -> Figures:
    """Load a machine; kill its disk, and wait until a client has it again."""
    with subprocess.Popen(
        [str(tree.python), "-P", "-c", CLIENT, f"unix:{folder}/run/kernel.sock"],
        env=tree.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        if client.stdin is None or client.stdout is None:
            raise RuntimeError("a client has pipes")
        if client.stdout.readline() != "loaded\n":
            raise RuntimeError("the client has not loaded the disk")
        figures = {"PSS loaded, MiB": pss_mib(family(supervisor))}
        killed = time.monotonic()
        os.kill(disk, signal.SIGKILL)
        client.stdin.write(f"{killed}\n")
        client.stdin.flush()
        return figures | {"outage, s": float(client.stdout.readline())}


def measure_containers(tree: Tree, folder: Path) -> Figures:
    """Start what containers run, one at a time, until it serves."""
    (folder / "machine.toml").write_text(
        'name = "bench"\n[[devices]]\nname = "keyboard"\nkind = "input"\n'
        'endpoint = "unix:device.sock"\n'
    )
    figures = {}
    for name, (program, *arguments) in CONTAINERS.items():
        begun = time.monotonic()
        process = subprocess.Popen(
            tree.command(program, *arguments, "--listen", f"unix:{folder}/{name}.sock"),
            cwd=folder,
            env=tree.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            lines = iter(process.stderr or ())
            if not any("serving" in line for line in lines):
                raise RuntimeError(f"{program} does not serve")
            figures[f"{name} alone, s"] = time.monotonic() - begun
            figures[f"{name} alone, MiB"] = pss_mib([process.pid])
            process.terminate()
            with contextlib.suppress(ValueError):
                process.communicate(timeout=WAIT_S)
    return figures


def report(rounds: dict[str, list[tuple[float, float]]]) -> None:
    """Print the medians with their quartiles."""
    table = Table("figure", "old", "new", "old / new", "rounds")
    for name, pairs in rounds.items():
        sides = [spell([pair[side] for pair in pairs]) for side in (0, 1)]
        table.add_row(name, *sides, spell([old / new for old, new in pairs]), str(len(pairs)))
    Console(width=110).print(table)


def spell(values: list[float]) -> str:
    """Return a median, and the quartiles around it."""
    low, _, high = quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{median(values):.3g} ({low:.3g} to {high:.3g})"


def main() -> None:
    """Measure two trees."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--old", type=Path, required=True, help="the older tree")
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("rounds", type=int, nargs="?", default=10)
    options = parser.parse_args()
    rounds: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="vm-") as cache:
        trees = [Tree(options.old.absolute() / ".venv/bin/python", Path(cache))]
        trees.append(Tree(options.python.absolute(), Path(cache)))
        for number in range(options.rounds + 1):
            order = (0, 1) if number % 2 else (1, 0)
            found = {side: measure(trees[side]) for side in order}
            for name in found[0] if number else ():
                rounds[name].append((found[0][name], found[1][name]))
            say(f"round {number}: {found}", err=True)
    report(rounds)


if __name__ == "__main__":
    main()
