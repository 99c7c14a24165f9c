"""Watches a machine while tests use it, and says what it did since the start of a test."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from virtmesh_client.cli.trace.show import spell_time
from virtmesh_client.models import names_of
from virtmesh_client.pytest_plugin.account import Counters, read_counters, spell_account
from virtmesh_client.pytest_plugin.screens import shoot
from virtmesh_client.pytest_plugin.serial_log import SerialLog
from virtmesh_client.trace.choose import since
from virtmesh_client.trace.decode import Decoder
from virtmesh_client.trace.merge import Clock
from virtmesh_client.trace.reader import read_traces
from virtmesh_client.trace.store import TraceWriter
from virtmesh_common.errors import ServiceUnavailable, VirtmeshError
from virtmesh_common.printable import printable
from virtmesh_common.virtio.ids import VirtioId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from virtmesh_client.machine import Machine
    from virtmesh_client.trace.events import Event

UART = "ns16550a"
COLLECT_SECONDS = 20.0
"""How long a failed test waits for what its machine did."""
CATCH_UP_SECONDS = 2.0
MARK_SECONDS = 5.0
TRACE_EVENTS = 20_000
"""Most events of a trace, the newest."""
LOG_BYTES = 256 << 10
"""Most of the log of a process, the newest."""


@dataclass
class Evidence:
    """What belongs to a failed test, by name of the file. Each entry is whole when it is there."""

    sections: dict[str, str] = field(default_factory=dict)
    """Texts for people: they stand in the report as well."""
    files: dict[str, bytes] = field(default_factory=dict)
    """The rest."""


class Observer:
    """Watches one machine. Close it, or use it in a `with`."""

    def __init__(self, machine: Machine, run_dir: Path | None, *, from_start: bool) -> None:
        """Begin to watch. `run_dir` is that of a machine of our own.

        Errors: VirtmeshError when the machine does not answer.
        """
        self._machine = machine
        self._run_dir = run_dir
        self._devices = machine.devices()
        self._gpus = names_of(self._devices, VirtioId.GPU)
        """All that were seen, also those that are gone."""
        self._begun = time.monotonic()
        self._logs = [
            SerialLog(machine, one.name, from_start=from_start)
            for one in self._devices
            if UART in one.compatible and one.state == "ready"
        ]
        self._marks = {log.name: 0 for log in self._logs}
        self._counters: dict[str, Counters] = read_counters(machine, self._devices)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for log in self._logs:
            log.close()

    def mark(self) -> None:
        """Note that a test begins."""
        self._begun = time.monotonic()
        self._marks = {log.name: log.position for log in self._logs}

        def count() -> None:
            with contextlib.suppress(VirtmeshError):
                self._look_around()
            self._counters = read_counters(self._machine, self._devices)

        run_bounded(count, MARK_SECONDS)

    def _look_around(self) -> None:
        """Find devices that have come meanwhile. Errors: VirtmeshError."""
        self._devices = self._machine.devices()
        self._gpus = sorted({*self._gpus, *names_of(self._devices, VirtioId.GPU)})

    def collect(self) -> Evidence:
        """Return what the machine did since the test's start, as far as it still answers."""
        evidence = Evidence()
        missing = [name for name, _ in self._parts]
        gone = ""

        def work() -> None:
            nonlocal gone
            for name, collect in self._parts:
                try:
                    collect(evidence, gone)
                except (VirtmeshError, OSError, ValueError, LookupError) as error:
                    evidence.sections[name] = f"can't be read: {error}"
                    if isinstance(error, ServiceUnavailable):
                        gone = str(error)
                missing.remove(name)

        if not run_bounded(work, COLLECT_SECONDS):
            text = f"the machine did not say within {COLLECT_SECONDS:g} s"
            # A copy: the thread may still be at work.
            evidence = Evidence(dict(evidence.sections), dict(evidence.files))
            evidence.sections |= dict.fromkeys(missing, text)
            if not self._gpus:
                evidence.sections.pop("screens", None)
        return evidence

    @property
    def _parts(self) -> list[tuple[str, Callable[[Evidence, str], None]]]:
        """What is collected, in this order. Each is told why the machine does not answer, if so."""
        return [
            ("devices", self._collect_devices),
            ("screens", self._collect_screens),
            ("account", self._collect_account),
            ("serial", self._collect_serial),
            ("trace", self._collect_trace),
            ("logs", self._collect_logs),
        ]

    def _collect_devices(self, evidence: Evidence, gone: str) -> None:
        """Say which devices there are, and why one is not ready."""
        self._look_around()
        evidence.sections["devices"] = "\n".join(
            f"{one.name}: {one.state} {printable(one.detail)}".rstrip() for one in self._devices
        )

    def _collect_screens(self, evidence: Evidence, gone: str) -> None:
        """Add a screenshot of each screen."""
        if not self._gpus:
            return
        check_there(gone)
        lines = []
        for line, name, data in shoot(self._machine, self._gpus):
            lines.append(line)
            if name:
                evidence.files[name] = data
        evidence.sections["screens"] = "\n".join(lines)

    def _collect_account(self, evidence: Evidence, gone: str) -> None:
        """Say what became of every event, and of every request of disks."""
        check_there(gone)
        now = read_counters(self._machine, self._devices)
        evidence.sections["account"] = spell_account(self._counters, now)

    def _collect_serial(self, evidence: Evidence, gone: str) -> None:
        """Add the serial logs."""
        for log in self._logs:
            with contextlib.suppress(VirtmeshError):
                check_there(gone)
                info = self._machine.serial(log.name).info()
                log.catch_up(info.output_offset, CATCH_UP_SECONDS)
            data = log.since(self._marks[log.name])
            evidence.files[f"{log.name}.raw"] = data
            lines = data.decode(errors="replace").replace("\r\n", "\n").split("\n")
            evidence.sections[log.name] = "\n".join(map(printable, lines))

    def _collect_trace(self, evidence: Evidence, gone: str) -> None:
        """Add the trace: for `virtmesh trace --from`, and in words."""
        check_there(gone)
        recent = since(time.monotonic() - self._begun)
        names = [one.name for one in self._devices if one.state != "reserved"]
        events = deque(
            filter(recent, read_traces(self._machine.channel, names)), maxlen=TRACE_EVENTS
        )
        saved: list[str] = []
        writer = TraceWriter(saved.append)
        for event in events:
            writer.add(event)
        evidence.files["trace.jsonl"] = "".join(saved).encode()
        evidence.sections["trace"] = "\n".join(spell_trace(events)) or "no event"

    def _collect_logs(self, evidence: Evidence, gone: str) -> None:
        """Add the logs of the processes, of a machine of our own."""
        for path in sorted(self._run_dir.glob("*.log")) if self._run_dir else []:
            with path.open("rb") as log:
                log.seek(max(path.stat().st_size - LOG_BYTES, 0))
                evidence.files[path.name] = log.read(LOG_BYTES)


def check_there(gone: str) -> None:
    """Ask nothing of a machine that does not answer. Errors: VirtmeshError."""
    if gone:
        raise VirtmeshError(gone)


def spell_trace(events: deque[Event]) -> Iterator[str]:
    """Spell events as `virtmesh trace` does."""
    decoder, clock = Decoder(), Clock()
    for event in events:
        spelled = decoder.spell(event)
        device = printable(event.source.device)
        yield f"{spell_time(clock.time(event))} {device:<8} {spelled.actor:<6} {spelled.text}"


def run_bounded(work: Callable[[], None], seconds: float) -> bool:
    """Run something that asks the machine, in a thread; returns whether it ended in time."""
    thread = threading.Thread(target=work, name="virtmesh observer", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
