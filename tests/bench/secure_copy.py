"""What locks and budgets cost where data is moved: 1 GiB into a machine and out of it.

Usage: python -m tests.bench.secure_copy --old FOLDER [--mib N] [--folder FOLDER] [ROUNDS]

FOLDER of --old is another version of the tree, set up with a .venv of its own (`git worktree add
--detach FOLDER 8baf6f2`, `make setup`). Machines of both run at the same time, started by `virtmesh
up` with a disk in memory: the other one listens on a unix socket and on TCP, ours on both without
locks, and another one of ours on both with a security folder. Each client is a process with the
library of its own tree. In each round each way imports and exports once; the order turns around
from round to round. Ratios are those of single rounds to the other version's way of the same kind:
of time, and of processor time of all processes, which depends less on what else the host does.
Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from tests.bench.disk_copy import BLOCK, cpu_seconds
from tests.support import ROOT
from tests.support.ports import free_port
from virtmesh_common.security.authority import Authority
from virtmesh_common.security.roles import Role

ROUNDS = 5
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
CLIENT = """
import sys, time
from pathlib import Path
import virtmesh_client
folder, address, source, target = sys.argv[1:]
with virtmesh_client.connect(address) as machine:
    disk = machine.disk("vda")
    for order in sys.stdin:
        Path(target).unlink(missing_ok=True)
        begin = time.monotonic()
        if order == "import\\n":
            disk.import_from(Path(source), flush=False)
        else:
            disk.export_to(Path(target))
        print(time.monotonic() - begin, flush=True)
"""
"""Copies for each line of its input; prints the seconds that it took."""
MACHINE = """
[kernel]
listen = ["unix:kernel.sock", "127.0.0.1:{port}"]
{security}
[[devices]]
name = "vda"
kind = "blk"
[devices.options]
image = "{image}"
size = "{mib}M"
"""


@dataclass(frozen=True)
class Way:
    """A client of one machine, and the name of the way that it is compared with."""

    base: str
    folder: Path
    client: subprocess.Popen[str]

    def copy(self, order: str) -> dict[str, float]:
        """Import or export; return the seconds and processor seconds that it took."""
        assert self.client.stdin is not None
        assert self.client.stdout is not None
        before = cpu_seconds(self.folder)
        self.client.stdin.write(order + "\n")
        self.client.stdin.flush()
        took = float(self.client.stdout.readline())
        return {"s": took, "CPU s": cpu_seconds(self.folder) - before}


class Bench:
    """Machines and their clients, while `undo` is open."""

    def __init__(self, folder: Path, mib: int, undo: ExitStack) -> None:
        self.folder, self.mib, self.undo = folder, mib, undo
        self.source = folder / "source"
        with self.source.open("wb") as file:
            for _ in range(mib):
                file.write(BLOCK)

    def start(self, tree: Path, name: str, *, secured: bool = False) -> dict[str, str]:
        """Start a machine of a tree; return its addresses."""
        folder = self.folder / name
        folder.mkdir()
        port = free_port()
        security = f'[security]\nfolder = "{self.folder}/security"' if secured else ""
        text = MACHINE.format(port=port, security=security, image=folder / "disk.img", mib=self.mib)
        (folder / "machine.toml").write_text(text)
        virtmesh = str(tree / ".venv/bin/virtmesh")
        environment = os.environ | {"VIRTMESH_RUN_DIR": str(folder / "run")}
        up = [virtmesh, "up", "--detach", "--quiet", str(folder / "machine.toml")]
        subprocess.run(up, env=environment, check=True)
        down = [virtmesh, "down", "--quiet"]
        self.undo.callback(lambda: subprocess.run(down, env=environment, check=True))
        return {"unix": f"unix:{folder}/run/kernel.sock", "tcp": f"127.0.0.1:{port}"}

    def client(self, tree: Path, name: str, address: str, base: str, bundle: str = "") -> Way:
        """Start a client of a machine."""
        folder = self.folder / name
        command = [str(tree / ".venv/bin/python"), "-c", CLIENT, str(folder), address]
        environment = os.environ | ({"VIRTMESH_CREDENTIALS": bundle} if bundle else {})
        process = subprocess.Popen(
            [*command, str(self.source), str(folder / "target")],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.undo.callback(process.wait)
        self.undo.callback(process.terminate)
        return Way(base, folder, process)


def make_ways(bench: Bench, old: Path) -> dict[str, Way]:
    """Start all machines and clients. Those of the other version come first."""
    bundle = bench.folder / "client.pem"
    _, issued = Authority.create(bench.folder / "security").issue("bench", Role.OPERATOR, 1)
    bundle.write_text(issued.spell())
    before = bench.start(old, "old")
    here = bench.start(ROOT, "new")
    locked = bench.start(ROOT, "locked", secured=True)
    return {
        "unix, before": bench.client(old, "old", before["unix"], "unix, before"),
        "TCP, before": bench.client(old, "old", before["tcp"], "TCP, before"),
        "unix": bench.client(ROOT, "new", here["unix"], "unix, before"),
        "TCP, loopback": bench.client(ROOT, "new", here["tcp"], "TCP, before"),
        "TLS, certificate": bench.client(ROOT, "locked", locked["tcp"], "TCP, before", str(bundle)),
    }


Rows = dict[tuple[str, str], list[dict[str, float]]]


def measure(ways: dict[str, Way], rounds: int) -> Rows:
    """Measure all ways in turns; a first round makes the blocks of the images."""
    rows: Rows = defaultdict(list)
    for number in range(rounds + 1):
        for order in ("import", "export"):
            names = list(ways)[:: -1 if number % 2 else 1]
            found = {name: ways[name].copy(order) for name in names}
            for name in ways if number else ():
                cost = found[name]
                base = found[ways[name].base]
                ratios = {f"{unit} ratio": cost[unit] / base[unit] for unit in cost}
                rows[order, name].append(cost | ratios)
                sys.stderr.write(f"round {number}: {order}: {name}: {rows[order, name][-1]}\n")
    return rows


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=ROUNDS)
    parser.add_argument("--old", type=Path, required=True, help="another version of the tree")
    parser.add_argument("--mib", type=int, default=1024, help="how much is copied")
    parser.add_argument("--folder", type=Path, default=MEMORY, help="where disks are")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="vm-", dir=options.folder) as name, ExitStack() as undo:
        bench = Bench(Path(name), options.mib, undo)
        rows = measure(make_ways(bench, options.old.absolute()), options.rounds)
    table = Table(title=f"{options.rounds} interleaved rounds of {options.mib} MiB")
    for column in ("what", "way", "MiB/s", "time", "middle half", "CPU s", "CPU", "middle half"):
        table.add_column(column, justify="left" if column in {"what", "way"} else "right")
    for (order, way), costs in rows.items():
        cells = [order, way, f"{options.mib / median(one['s'] for one in costs):.0f}"]
        for unit in ("s", "CPU s"):
            ratios = [one[f"{unit} ratio"] for one in costs]
            low, _, high = quantiles(ratios, n=4)
            cells += [f"{median(one[unit] for one in costs):.2f}"] * (unit == "CPU s")
            cells += [f"{median(ratios):.3f}", f"{low:.3f} to {high:.3f}"]
        table.add_row(*cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
