"""The control path: interrupts, events, the serial port; everything on one CPU."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.suite import builds
from tests.bench.suite.disks import socket_appears
from tests.bench.suite.experiment import Experiment, Point, Row
from tests.bench.suite.probe import pinned, probing, python, running

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.bench.suite.experiment import Setting

PROBES = "tests.bench.suite.probes"
ROUND_TRIPS = 8000
"""Of a second, about: the probes take a count, not a time."""
EVENTS = 400
KIB = 200
INTERRUPT = Row(
    "interrupt",
    "an interrupt by eventfd to a handler in Python, through the bus of an attached device",
    "a bare eventfd that wakes a Python loop",
    "us",
    "lower",
    1.3,
    figure="us",
)
INJECT = Row(
    "inject",
    "inject, until read_event of the driver returns",
    "a bare unary gRPC call",
    "us",
    "lower",
    0.5,
    figure="us",
)
UART = Row(
    "uart",
    "serial port, bulk both ways at once",
    "16 bytes a round trip on a bare SEQPACKET pair, Python to Python",
    "KiB/s",
    "higher",
    0.5,
    figure="bytes_per_s",
    scale=1 / 1024,
)


def count(each_second: int, setting: Setting) -> int:
    """Return how often to do something that is done so often in a second."""
    return max(1, round(each_second * setting.seconds))


@contextmanager
def interrupts(setting: Setting, names: Collection[str]) -> Iterator[dict[str, Point]]:
    """Start an input device and both probes."""
    name = setting.sockets / "mouse"
    address = f"unix:{name}.sock"
    device = python("virtmesh.host.main", "input", "--name=mouse", f"--listen={address}")
    ringer = builds.floor("ringer")
    probe = python(f"{PROBES}.interrupt", ringer)
    with ExitStack() as stack:
        log = setting.folder / "mouse.log"
        command = pinned(setting.one, *device, "--personality=mouse")
        process = stack.enter_context(running(command, log))
        socket_appears(name.with_suffix(".sock"), process, log)
        us = stack.enter_context(
            probing(pinned(setting.one, *probe, address), setting.folder / "bus.log")
        )
        them = stack.enter_context(
            probing(pinned(setting.one, *probe), setting.folder / "eventfd.log")
        )
        trips = str(count(ROUND_TRIPS, setting))
        yield {one: Point(partial(us.sample, trips), partial(them.sample, trips)) for one in names}


@contextmanager
def events(setting: Setting, names: Collection[str]) -> Iterator[dict[str, Point]]:
    """Start the probe, which has a device, its driver and a bare server."""
    folder = setting.sockets / "inject"
    folder.mkdir()
    command = pinned(setting.one, *python(f"{PROBES}.inject", folder))
    with probing(command, setting.folder / "inject.log") as probe:
        times = count(EVENTS, setting)
        yield {
            one: Point(
                partial(probe.sample, f"inject {times}"), partial(probe.sample, f"bare {times}")
            )
            for one in names
        }


@contextmanager
def serial(setting: Setting, names: Collection[str]) -> Iterator[dict[str, Point]]:
    """Start a port with its driver and terminal, and a bare pair."""
    folder = setting.sockets / "uart"
    folder.mkdir()
    port = pinned(setting.one, *python(f"{PROBES}.uart", folder))
    bare = pinned(setting.one, *python(f"{PROBES}.seqpacket"))
    with (
        probing(port, setting.folder / "uart.log") as us,
        probing(bare, setting.folder / "seqpacket.log") as them,
    ):
        load = str(count(KIB, setting))
        yield {
            one: Point(
                partial(us.sample, load),
                partial(them.sample, f"{setting.seconds:g}", setting.seconds),
            )
            for one in names
        }


def experiments() -> list[Experiment]:
    """List the experiments."""
    return [
        Experiment("interrupt", "one CPU", (INTERRUPT,), interrupts),
        Experiment("inject", "one CPU", (INJECT,), events),
        Experiment("serial port", "one CPU", (UART,), serial),
    ]
