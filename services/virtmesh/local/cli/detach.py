"""A machine in the background: what `virtmesh up --detach` does.

It imports little: another process imports what a machine needs meanwhile, and finds what is wrong
with it. Only then is that looked for here too, to be told as every error of a command.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtmesh.local.early import CHOSEN, FAILED, READY, REFUSED
from virtmesh_client.cli.local import show_state
from virtmesh_client.local import rundir
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

    from virtmesh.local.early import EarlySupervisor
    from virtmesh.local.order import Order
    from virtmesh_client.cli.settings import Settings

Report = dict[str, str]
"""What a supervisor reports: an `Event` of virtmesh.local.supervise."""


def refuse_insecure(settings: Settings) -> None:
    """Refuse what only means something for a client. Errors: UsageError."""
    if settings.insecure:
        raise click.UsageError(
            "--insecure is for clients: a machine that anyone may use has insecure = true in"
            " [security] of its machine file"
        )


def run_detached(settings: Settings, early: EarlySupervisor, order: Order) -> None:
    """Let a supervisor start a machine, and return when that is ready. Errors: as `fail`."""
    supervisor = early.process
    try:
        with early.order(order) as events:
            last, run_dir = watch(settings, events)
    except KeyboardInterrupt:
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait()
        raise
    if last.get("kind") != READY:
        supervisor.wait()
        fail(order, last, run_dir, early.last_line())
    # It goes on without us; nobody waits for it here.
    supervisor.returncode = 0
    state = rundir.load(run_dir)
    if state is None:
        from virtmesh_common.errors import BadMachine  # noqa: PLC0415 - it imports gRPC

        raise BadMachine("the machine stopped as soon as it was ready: see its logs")
    show_state(settings, state)


def fail(order: Order, last: Report, run_dir: Path, last_line: str) -> NoReturn:
    """Tell why a machine has not started. Errors: BadMachine; those of `choose` and `make_plan`."""
    import virtmesh.telemetry.lean_structlog  # noqa: F401, PLC0415 - before structlog

    # isort: split
    from virtmesh.local.choice import choose  # noqa: PLC0415 - see the head of the module
    from virtmesh.local.plan import make_plan  # noqa: PLC0415
    from virtmesh_common.errors import BadMachine  # noqa: PLC0415

    if last.get("kind") == REFUSED:
        file, name, folder = choose(order)
        make_plan(file, folder, name)
    if last.get("kind") in {FAILED, REFUSED}:
        raise BadMachine(last["message"])
    why = last_line or f"see {run_dir / rundir.SUPERVISOR_LOG}"
    raise BadMachine(f"the supervisor ended: {why}")


def watch(settings: Settings, events: Iterable[bytes]) -> tuple[Report, Path]:
    """Show what a supervisor reports; return its last report, and the run folder."""
    last: Report = {}
    run_dir = Path()
    for line in events:
        last = json.loads(line)
        if last["kind"] in {READY, FAILED, REFUSED}:
            break
        if last["kind"] == CHOSEN:
            run_dir = Path(last["message"])
        elif not settings.json and not settings.quiet:
            say(last["message"], err=True)
    return last, run_dir
