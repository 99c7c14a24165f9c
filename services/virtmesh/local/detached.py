"""A supervisor in a process of its own, for commands with --detach, and its template.

python -m virtmesh.local.detached reads an order from standard input, and reports by one JSON object
a line on its standard output. The template is forked when both have what they share, so that it
imports the rest while the supervisor imports and plans.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # what is imported stays, so looking for garbage would find none
import virtmesh.rpc.environment  # noqa: F401 - before grpc is imported: forks are services

# isort: split
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from setproctitle import setproctitle

from virtmesh.local.early import CHOSEN, FAILED, READY, REFUSED
from virtmesh.local.order import Order
from virtmesh.local.template.client import Template, pair
from virtmesh.local.template.process import import_kinds, preload, run
from virtmesh.sandbox.readable import readable_paths

if TYPE_CHECKING:
    from pathlib import Path

    from virtmesh.local.supervise import Event

USUAL_KINDS = ("blk", "input", "uart")
"""Kinds of devices that most machines have."""


def main() -> Any:
    """Supervise the machine of the order on standard input. In forks, be template and services."""
    import_kinds(USUAL_KINDS)
    readable_paths()
    gc.freeze()  # looking for garbage in it would write to pages that forks share
    near, far = pair()
    template = os.fork()
    if not template:
        near.close()
        become_template()
        preload(())
        return run(far)
    far.close()
    with Template((near, template)) as one:
        return supervise_ordered(one)


def become_template() -> None:
    """Leave the order and the reports to the supervisor."""
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - no module for it
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    setproctitle("virtmesh-template")


def supervise_ordered(template: Template) -> int:
    """Read an order, and carry it out; return the exit status."""
    import asyncio  # noqa: PLC0415 - the template imports other modules meanwhile

    import click  # noqa: PLC0415

    from virtmesh.local.choice import choose  # noqa: PLC0415
    from virtmesh.local.plan import make_plan  # noqa: PLC0415
    from virtmesh.local.supervise import supervise  # noqa: PLC0415
    from virtmesh_client.local.rundir import SUPERVISOR_LOG  # noqa: PLC0415
    from virtmesh_common.errors import VirtmeshError  # noqa: PLC0415

    order = Order.decode(sys.stdin.buffer.readline())
    if order is None:
        return 0
    failure = REFUSED
    try:
        file, name, run_dir = choose(order)
        report(CHOSEN, str(run_dir))
        plan = make_plan(file, run_dir, name)
        use_log(run_dir / SUPERVISOR_LOG)
        template.use_log(sys.stderr.fileno())
        failure = FAILED
        setproctitle(f"virtmesh-supervisor {name} {run_dir}")
        gc.freeze()
        gc.enable()
        asyncio.run(supervise(plan, template, order.wait, report_event))
    except (VirtmeshError, OSError, click.ClickException) as error:
        with contextlib.suppress(BrokenPipeError):
            report(failure, getattr(error, "message", str(error)))
        return 1
    return 0


def report(kind: str, message: str, name: str = "") -> None:
    """Report to `virtmesh up --detach`. Errors: BrokenPipeError when it has ended."""
    line = json.dumps({"kind": kind, "message": message, "name": name})
    os.write(sys.stdout.fileno(), line.encode() + b"\n")


def report_event(event: Event) -> None:
    """Report to the command while it listens, and to the log behind it after that.

    Errors: BrokenPipeError when it ended before the machine was ready.
    """
    report(event.kind, event.message, event.name)
    if event.kind == READY:
        from datetime import UTC, datetime  # noqa: PLC0415 - as above

        # The pipe ends here: standard error is the supervisor's log.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        # The log goes on over the runs of a machine: this line begins one.
        now = datetime.now(UTC).isoformat(timespec="seconds")
        report("begun", f"supervisor {os.getpid()}, ready at {now}")


def use_log(path: Path) -> None:
    """Let standard error be a log, and standard input nothing. Errors: OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    for flag, name, standard in ((os.O_RDONLY, os.devnull, 0), (flags, path, 2)):
        descriptor = os.open(name, flag, 0o600)
        os.dup2(descriptor, standard)
        os.close(descriptor)


if __name__ == "__main__":
    raise SystemExit(main())
