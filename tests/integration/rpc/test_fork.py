"""Scripts that fork: the child is told that it has no connection, may connect anew, and ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.cli import Cli, own_folder

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

SECONDS = 60.0
REST = """
import os, time
from pathlib import Path

def wait_for_rest():
    # gRPC can't be forked while it works: its threads must sleep before that, and stay asleep.
    def look():
        others = [one for one in Path("/proc/self/task").iterdir() if one.name != str(os.getpid())]
        ran_ns = sum(int((one / "schedstat").read_text().split()[0]) for one in others)
        return ran_ns, {(one / "stat").read_text().rpartition(")")[2].split()[0] for one in others}
    deadline, calm, before = time.monotonic() + 45, 0, 0
    while calm < 3:
        assert time.monotonic() < deadline, "the threads of gRPC did not come to rest"
        time.sleep(0.2)
        ran_ns, states = look()
        calm = calm + 1 if ran_ns - before < 2_000_000 and states <= {"S"} else 0
        before = ran_ns
"""
STREAMS = (
    REST
    + """
import gc, os, sys, virtmesh_client

def try_it(name, work):
    try:
        print(name, work() or "done", flush=True)
    except Exception as error:
        print(name, type(error).__name__, error, flush=True)

with virtmesh_client.connect({address!r}) as machine:
    keyboard, serial = machine.input("keyboard"), machine.serial()
    keyboard.press("a")
    serial.write("x")
    watch = keyboard.watch()
    pieces = machine.disk("vda").stream()
    first = next(pieces)
    wait_for_rest()
    child = os.fork()
    if child == 0:
        with keyboard, serial:
            try_it("devices", machine.devices)
            try_it("press", lambda: keyboard.press("b"))
            try_it("write", lambda: serial.write("y"))
            try_it("read", lambda: serial.read(1))
            try_it("expect", lambda: serial.expect("z", timeout=60))
            try_it("watch", lambda: next(watch))
            try_it("stream", lambda: next(pieces))
        keyboard.close(), serial.close(), watch.close(), machine.close()
        del keyboard, serial, watch, pieces, machine
        gc.collect()
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    print("child", status)
    keyboard.release("a")
    serial.write("z")
    print("parent", machine.devices()[0].state, len(first + b"".join(pieces)))
"""
)
ANEW = (
    REST
    + """
import sys, virtmesh_client
from virtmesh_common.errors import ForkedConnection

with virtmesh_client.connect({address!r}) as machine:
    machine.devices()
    wait_for_rest()
    child = os.fork()
    if child == 0:
        try:
            machine.devices()
        except ForkedConnection:
            with virtmesh_client.connect({address!r}) as own:
                print("anew", own.devices()[0].state, flush=True)
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    print("child", status)
    print("parent", machine.devices()[0].state)
"""
)
POOL = (
    REST
    + """
import multiprocessing, virtmesh_client

def work(number):
    with virtmesh_client.connect({address!r}) as machine:
        return machine.disk("vda").read(number * 512, 512) == bytes(512)

with virtmesh_client.connect({address!r}) as machine:
    machine.devices()
    wait_for_rest()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(work, range(8)))
    print(machine.devices()[0].state)
"""
)


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """Start a machine."""
    with own_folder() as cli:
        cli.up("--disk", "disk.img,size=8M", "--input", "keyboard")
        yield cli


def run(cli: Cli, script: str) -> list[str]:
    """Run a script to its end; return its lines."""
    code = script.replace("{address!r}", repr(cli.state.address))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        env=dict(os.environ),
    )
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


def test_a_forked_child_is_told(cli: Cli) -> None:
    """No call waits for ever, the parent's streams go on, and the child ends by itself."""
    *child, ended, parent = run(cli, STREAMS)

    assert [line.split()[0] for line in child] == [
        "devices",
        "press",
        "write",
        "read",
        "expect",
        "watch",
        "stream",
    ]
    assert {line.split()[1] for line in child} == {"ForkedConnection"}
    assert all("connect again in the child" in line and "'spawn'" in line for line in child)
    assert ended == "child 0"
    assert parent == f"parent ready {8 << 20}"


def test_a_forked_child_connects_anew(cli: Cli) -> None:
    """That is promised while no thread of the parent is in the middle of a call."""
    assert run(cli, ANEW) == ["anew ready", "child 0", "parent ready"]


def test_a_pool_of_forked_processes_works(cli: Cli) -> None:
    """What multiprocessing does by default on Linux: each worker connects for itself."""
    assert run(cli, POOL) == [str([True] * 8), "ready"]
