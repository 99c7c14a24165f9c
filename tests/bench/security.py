"""What locks cost a unary call: roles on a unix socket, TLS, certificates and tokens on TCP.

Usage: python -m tests.bench.security [--old FOLDER] [ROUNDS]

A keyboard service for each way in, all on one CPU with this process; blocking calls of
DeviceService.GetStatus one after another, all ways in turns in each round. With --old, the folder
of another version of the tree (`git worktree add --detach FOLDER 8baf6f2`, and `make setup` there,
so that it has a .venv of its own), its service is measured in the same rounds, over a unix socket
and over TCP without TLS, and ratios are to those; without it, to this tree's service without locks.
The ratio is the median of the rounds' ratios, with the middle half. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import grpc
from rich.console import Console
from rich.table import Table

from tests.support.cli import eventually
from tests.support.secured import Keyboard, People
from virtmesh_common.channel import CHANNEL_OPTIONS, open_sync_channel
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Call = Callable[[], object]

ROUNDS = 40
CALLS = 200
METHOD = "/virtmesh.device.v1.DeviceService/GetStatus"
BASES = {"unix": "unix, before", "tcp": "TCP, before"}


def start(tree: Path | None, folder: Path, undo: ExitStack) -> dict[str, str]:
    """Start a keyboard without locks, of this tree or another; return its addresses."""
    folder.mkdir()
    python = sys.executable if tree is None else str(tree.absolute() / ".venv/bin/python")
    port = 20000 + os.getpid() % 20000 + (tree is None)
    addresses = {"unix": f"unix:{folder}/k.sock", "tcp": f"127.0.0.1:{port}"}
    command = [python, "-m", "virtmesh.host.main", "input", "--name=k"]
    command += ["--personality=keyboard", *(f"--listen={one}" for one in addresses.values())]
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, stderr=file)
    undo.callback(process.wait)
    undo.callback(process.terminate)
    eventually(lambda: process.poll() is not None or b"serving" in log.read_bytes())
    return addresses


def caller(channel: grpc.Channel, undo: ExitStack, metadata: Any = ()) -> Call:
    """Return what makes one call."""
    undo.callback(channel.close)
    method: Any = channel.unary_unary(METHOD)
    return lambda: method(b"", timeout=20, metadata=metadata)


def secure(address: str, people: People, role: Role | None) -> grpc.Channel:
    """Open a channel with the options of ours, over TLS."""
    bundle = people.bundles[Role.OBSERVER]
    pair = (bundle.key.encode(), bundle.certificate.encode()) if role else (None, None)
    credentials = grpc.ssl_channel_credentials(bundle.authority.encode(), *pair)
    options = [one for one in CHANNEL_OPTIONS if one[0] != "grpc.minimal_stack"]
    return grpc.secure_channel(address, credentials, options=options)


def one_round(calls: Mapping[str, Call], *, backward: bool) -> dict[str, float]:
    """Return the microseconds of a call of each way."""
    found = {}
    for name in list(calls)[:: -1 if backward else 1]:
        call = calls[name]
        begin = time.perf_counter()
        for _ in range(CALLS):
            call()
        found[name] = (time.perf_counter() - begin) / CALLS * 1e6
    return found


def measure(old: Path | None, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Measure all ways in turns."""
    with TemporaryDirectory(prefix="vm-") as name, ExitStack() as undo:
        folder = Path(name)
        people = People(folder)
        keyboard = undo.enter_context(Keyboard(people))
        here, before = start(None, folder / "new", undo), start(old, folder / "old", undo)
        bearer = (("authorization", f"Bearer {people.token(Role.OBSERVER)}"),)
        plain = {
            BASES["unix"]: before["unix"],
            "unix, owner": here["unix"],
            "unix, observer": keyboard.address.roles[Role.OBSERVER],
            BASES["tcp"]: before["tcp"],
            "TCP, loopback": here["tcp"],
        }
        calls = {way: caller(open_sync_channel(at), undo) for way, at in plain.items()}
        place = keyboard.address
        calls["TLS, certificate"] = caller(secure(place.certificates, people, Role.OBSERVER), undo)
        calls["TLS, token"] = caller(secure(place.tokens, people, None), undo, bearer)
        one_round(calls, backward=False)  # to warm up
        table: dict[str, list[dict[str, float]]] = defaultdict(list)
        for number in range(rounds):
            found = one_round(calls, backward=bool(number % 2))
            for way, cost in found.items():
                base = found[BASES["unix" if way.startswith("unix") else "tcp"]]
                table[way].append({"us": cost, "ratio": cost / base})
        return table


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=ROUNDS)
    parser.add_argument("--old", type=Path, help="another version of the tree")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    table = Table(title=f"{options.rounds} interleaved rounds of {CALLS} calls on one CPU")
    for column in ("way", "us", "ratio", "middle half"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way, rows in measure(options.old, options.rounds).items():
        ratios = [row["ratio"] for row in rows]
        low, _, high = quantiles(ratios, n=4)
        us = median(row["us"] for row in rows)
        table.add_row(way, f"{us:.0f}", f"{median(ratios):.3f}", f"{low:.3f} to {high:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
