"""Starting a machine: what `virtmesh up` does when it has its options."""

from __future__ import annotations

import virtmesh.telemetry.lean_structlog  # noqa: F401 - before structlog is imported

# isort: split
import asyncio
import contextlib
import json
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtmesh import machine as machine_file
from virtmesh.local import run_folder
from virtmesh.local.early import EarlySupervisor, Order, Place
from virtmesh.local.plan import Plan, check_host, make_plan
from virtmesh.local.quick_machine import quick_machine
from virtmesh.local.supervise import Event, supervise
from virtmesh.local.template.client import Template
from virtmesh_client.cli.local import show_state
from virtmesh_client.local import rundir
from virtmesh_client.tail import follow
from virtmesh_common.errors import BadMachine
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_client.cli.settings import Settings

DEFAULT_FILE = Path("machine.toml")


def start(
    settings: Settings,
    machine: Path | None,
    quick: Quick,
    place: Place,
    early: EarlySupervisor | None,
) -> None:
    """Start a machine by a supervisor that was begun early, or here. Errors: as `choose`."""
    check_host()
    file, name, run_dir = choose(machine, quick, place.name, place.run_dir)
    if early is not None:
        make_plan(file, run_dir, name)  # what is wrong with it is said before anything starts
        run_detached(settings, early, Order(str(file), str(run_dir), name, place.wait))
        return
    with Template() as template:  # it imports what takes long while the machine is planned
        run_here(settings, make_plan(file, run_dir, name), template, place.wait)


def refuse_insecure(settings: Settings) -> None:
    """Refuse what only means something for a client. Errors: UsageError."""
    if settings.insecure:
        raise click.UsageError(
            "--insecure is for clients: a machine that anyone may use has insecure = true in"
            " [security] of its machine file"
        )


@dataclass(frozen=True)
class Quick:
    """A machine that is given on the command line, instead of a file."""

    disks: tuple[str, ...]
    inputs: tuple[str, ...]
    serial: str | None
    devices: tuple[str, ...]
    no_serial: bool
    vhost_user: bool

    @property
    def is_given(self) -> bool:
        """True when there is any device."""
        return bool(self.disks or self.inputs or self.devices or self.serial is not None)

    def spell(self, name: str) -> str:
        """Return its machine file. Errors: BadMachine."""
        serial = None if self.no_serial else self.serial or ""
        return quick_machine(
            name,
            self.disks,
            self.inputs,
            serial,
            devices=self.devices,
            vhost_user=self.vhost_user,
        )


def choose(
    file: Path | None, quick: Quick, name: str | None, run_dir: Path | None
) -> tuple[Path, str, Path]:
    """Return the machine file, the name and the run folder. Errors: BadMachine, UsageError."""
    if file and (quick.is_given or quick.no_serial):
        raise click.UsageError(
            "give a machine file, or --disk, --input, --serial and --device, not both"
        )
    if quick.vhost_user and not (quick.disks or quick.inputs or quick.devices):
        raise click.UsageError(
            "--vhost-user goes with --disk, --input and --device: in a machine file write"
            " vhost-user = true"
        )
    if quick.is_given:
        name = name or "virtmesh"
        run_dir = (run_dir or rundir.default(name)).absolute()
        return write_machine(run_dir, quick.spell(name)), name, run_dir
    if file is None and not DEFAULT_FILE.exists():
        raise click.UsageError(
            "there is no machine.toml here: name a machine file, or give --disk IMAGE,size=64M,"
            " --input, --serial or --device"
        )
    file = (file or DEFAULT_FILE).absolute()
    name = name or machine_file.load(file).name
    run_dir = (run_dir or rundir.default(name)).absolute()
    run_folder.prepare(run_dir)
    # What runs there has the ports of the machine: it is told before they are looked at.
    run_folder.take(run_dir).release()
    return file, name, run_dir


def write_machine(run_dir: Path, text: str) -> Path:
    """Write the machine file of devices that were given as options. Errors: BadMachine."""
    run_folder.prepare(run_dir)
    # A machine that runs reads its file again when its kernel is restarted.
    run_folder.take(run_dir).release()
    made = run_dir / DEFAULT_FILE.name
    try:
        made.write_text(text, encoding="utf-8")  # as TOML is
    except UnicodeEncodeError:
        raise BadMachine(
            "the name of a file is not UTF-8, which a machine file must be: rename it, and the"
            " folders that it is in"
        ) from None
    machine_file.load(made)
    return made


def run_here(settings: Settings, plan: Plan, template: Template, wait: float) -> None:
    """Run the machine in this process until Ctrl-C, with its logs."""
    if not asyncio.run(Foreground(settings, plan).run(template, wait)):
        raise KeyboardInterrupt


class Foreground:
    """A machine that runs in this process, and shows what happens to it."""

    def __init__(self, settings: Settings, plan: Plan) -> None:
        self._settings = settings
        self._plan = plan
        self._begun = asyncio.Event()
        """Set when the logs are those of this run."""

    async def run(self, template: Template, wait: float) -> bool:
        """Run it; see `supervise`."""
        logs = asyncio.create_task(self._show_logs())
        try:
            return await supervise(self._plan, template, wait, self._report)
        finally:
            logs.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await logs

    async def _show_logs(self) -> None:
        """Show the logs of this run, until cancelled."""
        await self._begun.wait()
        folder = self._plan.run_dir
        files = [(one.name, folder / f"{one.name}.log") for one in self._plan.commands]
        await follow(files, self._log)

    def _log(self, name: str, line: str) -> None:
        """Show a line of a log."""
        if self._settings.json:
            show_line({"kind": "log", "name": name, "message": line})
        elif not self._settings.quiet:
            say(f"{name} | {line}")

    def _report(self, event: Event) -> None:
        """Show what the supervisor reports."""
        if event.kind == "starting":
            self._begun.set()
        if self._settings.json:
            show_line(asdict(event))
        elif not self._settings.quiet or event.kind in {"died", "held"}:
            say(event.message, err=True)


def show_line(value: dict[str, str]) -> None:
    """Print one JSON object on one line, at once."""
    say(json.dumps(value))


def run_detached(settings: Settings, early: EarlySupervisor, order: Order) -> None:
    """Let a supervisor start a machine, and return when that is ready. Errors: BadMachine."""
    supervisor = early.process
    log = order.log
    try:
        with early.order(order) as events:
            last = watch(settings, events)
    except KeyboardInterrupt:
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait()
        raise
    if last.kind != "ready":
        supervisor.wait()
        if last.kind == "failed":
            raise BadMachine(last.message)
        why = early.last_line()
        raise BadMachine(f"the supervisor ended: {why or f'see {log}'}")
    # It goes on without us; nobody waits for it here.
    supervisor.returncode = 0
    state = rundir.load(Path(order.run_dir))
    if state is None:
        raise BadMachine("the machine stopped as soon as it was ready: see its logs")
    show_state(settings, state)


def watch(settings: Settings, events: Iterable[bytes]) -> Event:
    """Show what a supervisor reports; returns the last."""
    last = Event("", "")
    for line in events:
        last = Event(**json.loads(line))
        if last.kind in {"ready", "failed"}:
            break
        if not settings.json and not settings.quiet:
            say(last.message, err=True)
    return last
