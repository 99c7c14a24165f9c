"""A machine in the foreground: what `virtmesh up` does without --detach."""

from __future__ import annotations

import virtmesh.telemetry.lean_structlog  # noqa: F401 - before structlog is imported

# isort: split
import asyncio
import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from virtmesh.local.choice import choose
from virtmesh.local.installation import check_host
from virtmesh.local.plan import Plan, make_plan
from virtmesh.local.supervise import Event, supervise
from virtmesh.local.template.client import Template
from virtmesh_client.tail import follow
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from virtmesh.local.order import Order
    from virtmesh_client.cli.settings import Settings


def start(settings: Settings, order: Order) -> None:
    """Run a machine in this process until Ctrl-C. Errors: as `choose`, and BadMachine."""
    check_host()
    file, name, run_dir = choose(order)
    with Template() as template:  # it imports what takes long while the machine is planned
        run_here(settings, make_plan(file, run_dir, name), template, order.wait)


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
