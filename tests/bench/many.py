"""Many machines, many devices, many clients: start, memory, idle CPU, and what one more costs.

Usage: python -m tests.bench.many [--machines N] [--devices N] [--clients N] [--only PART]
       [--python PYTHON]

Parts: `machines` (of five devices each, 50 of them), `devices` (one machine of 64) and `clients`
(1,000 connections to one kernel service, with a call each). Real processes, started by `virtmesh
up`. Idle is measured once everything is ready and was left alone for --settle seconds: CPU time
from the scheduler, and how often threads slept and were woken. Memory is PSS, which is lower while
other processes of the same files run elsewhere. It prints tables and asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

import virtmesh_client
from tests.bench.many_processes import Rest, descriptors, rest_of, threads
from tests.bench.restart_processes import cpu_seconds, family, pss_mib
from tests.support.cli import Cli
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FIVE = (
    "--disk",
    "disk.img,size=16M",
    "--input",
    "keyboard",
    "--input",
    "mouse",
    "--input",
    "tablet",
)
"""Devices of one of the machines; a serial port comes along."""
SERIAL_PORTS = 4
PORT = '[[devices]]\nname = "serial{0}"\nkind = "uart"\n'
DISK = """
[[devices]]
name = "disk{0}"
kind = "blk"
options = {{ image = "{0}.img", size = "1M" }}
"""
KEYBOARD = """
[[devices]]
name = "keys{0}"
kind = "input"
options = {{ personality = "keyboard" }}
"""
BLOCK = 4096
PER_PROCESS = 250
"""Connections that one process of clients holds."""
CALLS = 50
"""Calls of which the median is told."""
CLIENTS = """
import sys, time
import virtmesh_client
machines, times = [], []
for number in range(int(sys.argv[2])):
    start = time.perf_counter()
    machine = virtmesh_client.connect(sys.argv[1])
    machine.devices()
    times.append(time.perf_counter() - start)
    machines.append(machine)
print(*times, flush=True)
sys.stdin.read()
"""
"""Connects so many times with a call each, then is idle until its input ends."""


@dataclass(frozen=True)
class Options:
    """What is measured."""

    python: str
    machines: int
    devices: int
    clients: int
    settle: float
    """How long machines are left alone before they count as idle: who looks at what is idle does so
    less often from look to look."""
    seconds: float
    """How long idle ones are watched."""


@dataclass
class Running:
    """A machine that runs, and what its start took."""

    cli: Cli
    seconds: float
    cpu: float

    @property
    def pids(self) -> list[int]:
        """All its processes."""
        return family(self.cli.state.supervisor.pid)

    @property
    def kernel(self) -> int:
        """Its kernel service."""
        return self.cli.process("kernel").pid


def start(stack: ExitStack, python: str, folder: Path, *arguments: str) -> Running:
    """Start a machine, until all its devices are in use."""
    folder.mkdir(exist_ok=True)
    cli = Cli(folder, python=python)
    begin = time.perf_counter()
    cli.up(*arguments)
    seconds = time.perf_counter() - begin
    stack.callback(cli, "down")
    return Running(cli, seconds, cpu_seconds(family(cli.state.supervisor.pid)))


def rest(console: Console, what: str, pids: Sequence[int], options: Options) -> Rest:
    """Leave processes alone, then see what they do."""
    seconds = options.settle + options.seconds
    console.print(f"{what}: idle for {seconds:g} seconds; load {os.getloadavg()[0]:.1f}")
    time.sleep(options.settle)
    return rest_of(pids, options.seconds)


def machines(console: Console, options: Options, folder: Path) -> None:
    """Start machines one after another."""
    with ExitStack() as stack:
        running, memory = [], []
        for number in range(options.machines):
            running.append(start(stack, options.python, folder / f"m{number}", *FIVE))
            if number in {options.machines // 2 - 1, options.machines - 1}:
                memory.append(pss_mib([pid for one in running for pid in one.pids]))
        pids = [pid for one in running for pid in one.pids]
        idle = rest(console, "machines", pids, options)
        table = Table("machines of five devices", str(options.machines))
        table.add_row("start of the first", f"{running[0].seconds:.2f} s")
        table.add_row("start, median", f"{median(one.seconds for one in running):.2f} s")
        table.add_row("start of the last", f"{running[-1].seconds:.2f} s")
        table.add_row("CPU time of a start, median", f"{median(one.cpu for one in running):.2f} s")
        table.add_row("memory of all", f"{memory[-1]:.0f} MiB")
        table.add_row("memory each", f"{memory[-1] / len(running):.1f} MiB")
        if len(memory) > 1:
            later = options.machines - options.machines // 2
            table.add_row("memory of one more", f"{(memory[-1] - memory[0]) / later:.1f} MiB")
        table.add_row("processes each", f"{len(pids) / len(running):g}")
        add_idle(table, idle, len(running), "machine")
        console.print(table)


def machine_file(devices: int) -> str:
    """Return a machine of so many devices: serial ports, then disks and keyboards in turn."""
    ports = [PORT.format(one) for one in range(SERIAL_PORTS)]
    others = [(DISK, KEYBOARD)[one % 2].format(one) for one in range(devices - SERIAL_PORTS)]
    return "".join([*ports[:devices], *others])


def devices(console: Console, options: Options, folder: Path) -> None:
    """Start one machine of many devices, beside one with half as many, and use each device."""
    with ExitStack() as stack:
        half, whole = (
            start_file(stack, options.python, folder / name, count)
            for name, count in (("half", options.devices // 2), ("whole", options.devices))
        )
        more = options.devices - options.devices // 2
        memory = pss_mib(half.pids), pss_mib(whole.pids)
        kernels = pss_mib([half.kernel]), pss_mib([whole.kernel])
        used = use(whole)
        table = Table("devices of one machine", str(options.devices))
        table.add_row("start until all are in use", f"{whole.seconds:.2f} s")
        table.add_row("one more: start", f"{(whole.seconds - half.seconds) / more * 1e3:.0f} ms")
        table.add_row("one more: CPU time", f"{(whole.cpu - half.cpu) / more * 1e3:.0f} ms")
        table.add_row("memory of all", f"{memory[1]:.0f} MiB")
        table.add_row("one more: memory", f"{(memory[1] - memory[0]) / more:.1f} MiB")
        of_kernel = (kernels[1] - kernels[0]) / more
        table.add_row("one more: of that in the kernel service", f"{of_kernel:.2f} MiB")
        table.add_row("used: write and read, or a key, or a line", f"{used} devices")
        table.add_row("list of all devices, median", f"{listing(whole.cli):.1f} ms")
        for name, pid in (("kernel service", whole.kernel), ("supervisor", whole.pids[0])):
            table.add_row(f"{name}: descriptors", str(descriptors(pid)))
            table.add_row(f"{name}: threads", str(threads(pid)))
        add_idle(table, rest(console, "devices", whole.pids, options), more * 2, "device")
        console.print(table)


def start_file(stack: ExitStack, python: str, folder: Path, devices: int) -> Running:
    """Start a machine of a file."""
    folder.mkdir()
    file = folder / "machine.toml"
    file.write_text(machine_file(devices))
    return start(stack, python, folder, str(file))


def use(one: Running) -> int:
    """Use each device once; return how many."""
    with virtmesh_client.connect(one.cli.state.address) as machine:
        found = machine.devices()
        for number, device in enumerate(found):
            if device.name.startswith("disk"):
                data = bytes([number]) * BLOCK
                machine.disk(device.name).write(0, data)
                if machine.disk(device.name).read(0, BLOCK) != data:
                    raise RuntimeError(f"{device.name} has other data than was written")
            elif device.name.startswith("keys"):
                with machine.input(device.name) as keys:
                    keys.key("a")
            else:
                with machine.serial(device.name) as port:
                    port.write(b"\r")
    return len(found)


def listing(cli: Cli) -> float:
    """Return the time of a list of all devices, in milliseconds."""
    with virtmesh_client.connect(cli.state.address) as machine:
        times = []
        for _ in range(CALLS):
            begin = time.perf_counter()
            machine.devices()
            times.append(time.perf_counter() - begin)
        return median(times) * 1e3


def clients(console: Console, options: Options, folder: Path) -> None:
    """Connect clients to one machine."""
    with ExitStack() as stack:
        one = start(stack, options.python, folder / "clients", *FIVE)
        alone, memory = listing(one.cli), pss_mib([one.kernel])
        before = rest(console, "clients, before they come", [one.kernel], options)
        begin, used = time.perf_counter(), cpu_seconds([one.kernel])
        holders = [hold(stack, one, count) for count in shares(options.clients)]
        times = [float(word) for holder in holders for word in answer_of(holder)]
        took, used = time.perf_counter() - begin, cpu_seconds([one.kernel]) - used
        after = pss_mib([one.kernel])
        table = Table("clients of one kernel service", str(len(times)))
        table.add_row("all have connected and called", f"{took:.1f} s")
        table.add_row("connection and call, median", f"{median(times) * 1e3:.1f} ms")
        table.add_row("kernel service: CPU time each", f"{used / len(times) * 1e3:.2f} ms")
        table.add_row(
            "kernel service: memory each", f"{(after - memory) / len(times) * 1024:.0f} KiB"
        )
        held = pss_mib([holder.pid for holder in holders]) / len(times) * 1024
        table.add_row("client: memory each", f"{held:.0f} KiB")
        table.add_row("kernel service: descriptors", str(descriptors(one.kernel)))
        table.add_row("kernel service: threads", str(threads(one.kernel)))
        table.add_row("a call with none of them, median", f"{alone:.2f} ms")
        table.add_row("a call beside them, median", f"{listing(one.cli):.2f} ms")
        idle = rest(console, "clients", [one.kernel], options)
        table.add_row("kernel service idle, without them", before.spell())
        table.add_row("kernel service idle, with them", idle.spell())
        console.print(table)


def hold(stack: ExitStack, one: Running, count: int) -> subprocess.Popen[bytes]:
    """Start a process of clients."""
    command = [sys.executable, "-c", CLIENTS, one.cli.state.address, str(count)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stack.callback(holder.communicate)  # ends its input
    return holder


def answer_of(holder: subprocess.Popen[bytes]) -> list[bytes]:
    """Wait until its clients have called; return how long each took."""
    if holder.stdout is None:
        raise RuntimeError("it has no output")
    return holder.stdout.readline().split()


def shares(count: int) -> Iterator[int]:
    """Divide connections among processes."""
    while count > 0:
        yield min(PER_PROCESS, count)
        count -= PER_PROCESS


def add_idle(table: Table, idle: Rest, count: int, what: str) -> None:
    """Add what idle processes do, and which of them do most."""
    table.add_row("idle: all", idle.spell())
    table.add_row(f"idle: a {what}", Rest(idle.cpu_ms / count, idle.wakes / count).spell())
    for name, part in idle.parts[:6]:
        table.add_row(f"idle: of all, {name}", part.spell())


PARTS = {"machines": machines, "devices": devices, "clients": clients}


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="of the tree to measure")
    for name, default in (("machines", 50), ("devices", 64), ("clients", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--settle", type=float, default=60.0, help="seconds before they are idle")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="how long idle ones are watched"
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; all without it")
    given = parser.parse_args()
    console = Console()
    options = Options(
        given.python, given.machines, given.devices, given.clients, given.settle, given.seconds
    )
    for name in given.only or PARTS:
        with tempfile.TemporaryDirectory(prefix="many-") as folder:
            try:
                PARTS[name](console, options, Path(folder))
            except KeyboardInterrupt:
                say(f"{name}: interrupted")
                return


if __name__ == "__main__":
    main()
