"""What an innocent client gets of a machine while others attack it.

Usage: python -m tests.bench.attacks [--rounds N] [--only NAME]... [--json]

A machine with two disks and a keyboard runs on one processor, with a device service that nobody
drives. An innocent client there reads and writes 512 bytes of a disk, injects a key, and reads a
register, in turns. Attackers are processes on the other processor. Idle and attacked rounds take
turns; the table shows the innocent's median and 99th percentile under each attack as ratios to
idle, what failed of its calls, and the largest resident memory of the services. Nothing is
asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import grpc
from rich.console import Console
from rich.table import Table

from tests.support.ports import free_port
from virtmesh_common.api.input.v1 import input_pb2, input_pb2_grpc
from virtmesh_common.api.kernel.v1 import block_device_pb2, block_device_pb2_grpc
from virtmesh_common.api.register.v1 import register_pb2, register_pb2_grpc
from virtmesh_common.channel import DEVICE_KEY, open_sync_channel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BIN = Path(sys.executable).parent
MACHINE = """
name = "bench"
[kernel]
listen = ["unix:kernel.sock", "127.0.0.1:{port}"]
metrics = "{page}"
[[devices]]
name = "vda"
kind = "blk"
options = {{ image = "a.img", size = "64M" }}
[[devices]]
name = "vdb"
kind = "blk"
options = {{ image = "b.img", size = "64M" }}
[[devices]]
name = "keyboard"
kind = "input"
options = {{ personality = "keyboard" }}
"""
CALLS = 150
"""Calls of each kind in one round."""
LIMIT_S = 10.0
"""How long a call of the innocent may take."""
HOME, AWAY = 0, 1
"""Processors of the machine with the innocent, and of the attackers."""


class Rig:
    """A machine, a device service that nobody drives, and where they are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.kernel = f"unix:{folder}/run/kernel.sock"
        self.tcp = f"127.0.0.1:{self.port}"
        self.spare = f"unix:{folder}/spare.sock"
        self.handover = f"{folder}/spare.sock.handover"
        self.page = f"unix:{folder}/metrics.sock"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start everything, and stop it at the end."""
        file = self.folder / "machine.toml"
        file.write_text(MACHINE.format(port=self.port, page=self.page), encoding="utf-8")
        environment = os.environ | {"VIRTMESH_RUN_DIR": str(self.folder / "run")}
        up = [str(BIN / "virtmesh"), "up", str(file), "--detach", "--quiet"]
        down = [str(BIN / "virtmesh"), "down", "--quiet"]
        spare = [
            *(str(BIN / "virtmesh-device"), "input", "--name", "spare"),
            *("--listen", self.spare, "--personality", "keyboard"),
        ]
        with ExitStack() as stack:
            subprocess.run(up, check=True, env=environment, stdout=subprocess.DEVNULL)
            stack.callback(subprocess.run, down, check=True, env=environment, stdout=-3)
            log = stack.enter_context((self.folder / "spare.log").open("wb"))
            process = subprocess.Popen(spare, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            with open_sync_channel(self.spare) as channel:
                grpc.channel_ready_future(channel).result(LIMIT_S)
            yield

    def processes(self) -> dict[str, int]:
        """Return the services by what they are, and their process IDs."""
        found: dict[str, int] = {}
        for process in Path("/proc").iterdir():
            try:
                line = (process / "cmdline").read_bytes().decode()
            except OSError:
                continue
            # A service that was forked has set its title, which is one text.
            arguments = line.replace("\0", " ").split()
            if str(self.folder) in line and "--listen" in arguments:
                names = [one for one in ("vda", "vdb", "keyboard", "spare") if one in arguments]
                found[names[0] if names else "kernel"] = int(process.name)
        return found


class Innocent:
    """A client that harms nobody."""

    def __init__(self, rig: Rig) -> None:
        self._limit_s = LIMIT_S
        kernel, spare = open_sync_channel(rig.kernel), open_sync_channel(rig.spare)
        self._channels = kernel, spare
        disks = block_device_pb2_grpc.BlockDeviceServiceStub(kernel)
        keys = input_pb2_grpc.InputServiceStub(kernel)
        registers = register_pb2_grpc.RegisterServiceStub(spare)
        request = block_device_pb2.ReadRequest(device="vda", length_bytes=512)
        header = block_device_pb2.WriteHeader(device="vda", offset_bytes=0)
        messages = (
            block_device_pb2.WriteRequest(header=header),
            block_device_pb2.WriteRequest(data=bytes(512)),
        )
        key = input_pb2.KeyRequest(chords=["a"])
        access = register_pb2.ReadRequest(offset=0, width_bytes=4)
        to_keyboard = ((DEVICE_KEY, "keyboard"),)
        self.calls: dict[str, Callable[[], object]] = {
            "read": lambda: list(disks.Read(request, timeout=self._limit_s)),
            "write": lambda: list(disks.Write(iter(messages), timeout=self._limit_s)),
            "key": lambda: keys.Key(key, timeout=self._limit_s, metadata=to_keyboard),
            "register": lambda: registers.Read(access, timeout=self._limit_s),
        }

    def close(self) -> None:
        """Close its channels."""
        for channel in self._channels:
            channel.close()

    def round(
        self, calls: int = CALLS, limit_s: float = LIMIT_S
    ) -> dict[str, tuple[list[float], int]]:
        """Make so many calls of each kind: seconds of those that succeeded, and failures."""
        self._limit_s = limit_s
        seconds: dict[str, list[float]] = {name: [] for name in self.calls}
        failed = dict.fromkeys(self.calls, 0)
        until = time.monotonic() + limit_s
        for _ in range(calls):
            if time.monotonic() > until:
                break
            for name, call in self.calls.items():
                begun = time.perf_counter()
                try:
                    call()
                except grpc.RpcError:
                    failed[name] += 1
                else:
                    seconds[name].append(time.perf_counter() - begun)
        return {name: (seconds[name], failed[name]) for name in self.calls}


def attacks(rig: Rig) -> dict[str, list[list[str]]]:
    """Return the processes of each attack: their arguments."""
    return {
        "stalled-reads": [["stalled-reads", rig.tcp, "vda"]],
        "stalled-reads-unix": [["stalled-reads", rig.kernel, "vda"]],
        "stalled-writes": [["stalled-writes", rig.tcp, "vdb"]],
        "deadlines": [["deadlines", rig.tcp, "vda"]] * 5,
        "deadlines-unix": [["deadlines", rig.kernel, "vda"]] * 5,
        "batches": [["batches", rig.spare]],
        "traces": [["traces", rig.tcp, "vda"]],
        "pages": [["pages", rig.tcp, "vda"]],
        "pages-unix": [["pages", rig.kernel, "vda"]],
        "half-open": [["half-open", rig.tcp]],
        "half-open-unix": [["half-open", rig.kernel, "2000"], ["half-open", rig.spare, "2000"]],
        "handovers": [["handovers", rig.handover]],
        "metrics": [["metrics", rig.page], ["collections", rig.tcp]],
    }


@contextmanager
def attacking(rig: Rig, name: str) -> Iterator[None]:
    """Run an attack on the other processor."""
    with ExitStack() as stack:
        if name == "stalled-writes":
            disk = rig.processes()["vdb"]
            os.kill(disk, signal.SIGSTOP)
            stack.callback(os.kill, disk, signal.SIGCONT)
        attackers = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.bench.attackers", str(AWAY), *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for arguments in attacks(rig)[name]
        ]
        for one in attackers:
            stack.enter_context(one)  # waits for its end
            stack.callback(one.kill)
        for one in attackers:
            assert one.stdout is not None
            one.stdout.readline()
        yield


def resident(process: int, field: str = "VmRSS") -> int:
    """Return the resident memory of a process in MiB, or its peak (VmHWM)."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) >> 10
    return 0


def quantile(values: list[float], part: float) -> float:
    """Return a quantile; infinite without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("inf")


def measure(rig: Rig, names: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Measure idle and under each attack, in turns."""
    innocent = Innocent(rig)
    innocent.round()  # warms up
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for _ in range(rounds):
        for name in names:
            idle = innocent.round()
            processes = rig.processes()
            for process in processes.values():
                Path(f"/proc/{process}/clear_refs").write_text("5", encoding="ascii")
            with attacking(rig, name):
                attacked = innocent.round()
                peaks = {one: resident(number, "VmHWM") for one, number in processes.items()}
            row = figures[name]
            for kind in innocent.calls:
                for quantity, part in (("p50", 0.5), ("p99", 0.99)):
                    before = quantile(idle[kind][0], part)
                    ratio = quantile(attacked[kind][0], part) / before
                    row.setdefault(f"{kind} {quantity}", []).append(ratio)
                    row.setdefault(f"{kind} {quantity} idle ms", []).append(before * 1000)
                row.setdefault(f"{kind} failed", []).append(attacked[kind][1])
            row.setdefault("largest MiB", []).append(max(peaks.values()))
            sys.stderr.write(f"{name}: {peaks}\n")
    return {
        name: {one: median(values) for one, values in row.items()} for name, row in figures.items()
    }


def report(figures: dict[str, dict[str, float]]) -> None:
    """Print the table."""
    kinds = ("read", "write", "key", "register")
    columns = [f"{kind} {quantity}" for kind in kinds for quantity in ("p50", "p99", "failed")]
    table = Table("attack", *columns, "largest MiB")
    for name, row in figures.items():
        table.add_row(name, *(f"{row[one]:.2f}" for one in columns), f"{row['largest MiB']:.0f}")
    Console(width=160).print(table)
    for name, row in figures.items():
        idle = ", ".join(f"{one} {row[one]:.2f}" for one in row if one.endswith("idle ms"))
        sys.stdout.write(f"{name}: {idle}\n")


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.sched_setaffinity(0, {HOME})
    with tempfile.TemporaryDirectory(prefix="vm-att-") as folder:
        rig = Rig(Path(folder))
        with rig.running():
            figures = measure(rig, options.only or list(attacks(rig)), options.rounds)
    if options.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        report(figures)


if __name__ == "__main__":
    main()
