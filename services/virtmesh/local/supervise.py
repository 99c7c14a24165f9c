"""The supervisor of a machine: starts its processes, restarts those that die, stops them all.

It runs inside `virtmesh up`, or in a process of its own (virtmesh.local.detached).
"""

from __future__ import annotations

import virtmesh.rpc.environment  # noqa: F401 - before grpc is imported: forks of this are services

# isort: split
import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh.kinds import own_kind_names
from virtmesh.local import run_folder
from virtmesh.local.child import Child
from virtmesh.local.control import ControlSocket
from virtmesh.local.readiness import POLL_SECONDS, ask_why_not
from virtmesh.local.restarts import QUICK_MAX, QUICK_SECONDS, Restarts
from virtmesh.local.watchdog import Watch, watch
from virtmesh_client.local import rundir
from virtmesh_client.local.exit_status import spell_exit
from virtmesh_common.errors import (
    BadMachine,
    DeviceNotFound,
    DeviceNotReady,
    ShuttingDown,
)
from virtmesh_common.supervision import Restarted
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from virtmesh.local.plan import Plan
    from virtmesh.local.template.client import Template

LOOK_SECONDS = 1.0
"""How often it is looked at how long the logs are."""
SPELLED = {
    "silent": "{child.name} has not answered {child.silent}",
    "answers": "{child.name} answers again",
    "killed": "{child.name} is killed, to be started anew: it has not answered {child.silent}",
}
"""What is told of a process that is watched, by the kind of event."""


@dataclass(frozen=True)
class Event:
    """Something to tell the person at the terminal."""

    kind: str
    """"starting", "waiting", "ready", "died", "restarted", "held", "silent", "answers", "killed",
    "stopping", "stopped"; in the log also "begun"."""
    message: str
    name: str = ""
    """The process it is about; empty for the machine."""


class Supervisor:
    """Runs one plan, once."""

    def __init__(
        self, plan: Plan, template: Template, *, wait: float, report: Callable[[Event], None]
    ) -> None:
        self._plan = plan
        self._wait = wait
        self._report = report
        template.preload(sorted({command.kind for command in plan.devices}))
        self._template = template
        self._devices = [Child(command, plan.run_dir, template) for command in plan.devices]
        self._kernel = Child(plan.kernel, plan.run_dir, template)
        self._stop = asyncio.Event()
        self._ready = False
        self._status = "starting"
        self._security: rundir.FolderState | None = None
        """The security folder that the kernel service has."""

    def stop(self) -> None:
        """Begin to stop; asked a second time, kill."""
        if self._stop.is_set():
            for child in self._children:
                child.kill()
        self._stop.set()

    async def restart(self, name: str) -> Restarted:
        """End a process, and start it anew; bring it back where it is held.

        Errors: DeviceNotFound; DeviceNotReady when it does not stay up.
        """
        child = next((one for one in self._children if one.name == name), None)
        if child is None:
            known = ", ".join(one.name for one in self._children)
            raise DeviceNotFound(f"{self._plan.name} has no process {name!r}: it has {known}")
        if self._stop.is_set():
            raise ShuttingDown(f"{self._plan.name} is being stopped")
        if not self._ready:
            raise DeviceNotReady(f"{self._plan.name} has not come up yet: wait until it is ready")
        held = child.held
        await child.renew()
        return Restarted(name, child.pid, held)

    def _device_pids(self) -> set[int]:
        return {one.pid for one in self._devices}

    async def run(self) -> bool:
        """Run until `stop`; returns whether the machine became ready.

        Errors: BadMachine when it runs already or does not start.
        """
        lock = run_folder.take(self._plan.run_dir)
        try:
            try:
                await self._work()
            finally:
                await self._stop_all()
        finally:
            lock.release()
        return self._ready

    def _tell(self, event: Event) -> None:
        """Report; a reader that went away ends the machine, and never keeps it from stopping."""
        try:
            self._report(event)
        except OSError:
            self._stop.set()

    @property
    def _children(self) -> list[Child]:
        return [*self._devices, self._kernel]

    async def _work(self) -> None:
        """Start everything, then keep it alive until `stop`."""
        for child in self._children:
            child.begin_log()
        self._tell(Event("starting", f"starting {self._plan.name} in {self._plan.run_dir}"))
        self._look_at_security()
        for child in self._devices:
            await child.start()
        # It has every kind of device. What the template imports, no start has to import again.
        self._template.preload(list(own_kind_names()))
        await self._kernel.start()
        self._save()
        stop = asyncio.create_task(self._stop.wait())
        tasks = [asyncio.create_task(self._keep(child)) for child in self._children]
        ready = asyncio.create_task(self._become_ready())
        bounding = asyncio.create_task(self._bound_logs())
        watching = asyncio.create_task(watch(self._watches()))
        try:
            async with ControlSocket(self._plan.control, self.restart, self._device_pids):
                waiting = {stop, ready, *tasks}
                while stop in waiting:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    for task in sorted(done, key=[*tasks, ready, stop].index):
                        task.result()
                    if stop in done:
                        return
        finally:
            ending = (stop, ready, bounding, watching, *tasks)
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    def _watches(self) -> list[Watch]:
        """Return what watches each process."""
        devices = [Watch(one, one.command.address, self._note) for one in self._devices]
        return [*devices, Watch(self._kernel, self._plan.watched, self._note)]

    def _note(self, what: str, child: Child) -> None:
        """Tell what was found of a process that is watched."""
        self._tell(Event(what, SPELLED[what].format(child=child), child.name))
        self._save()

    async def _bound_logs(self) -> None:
        """Keep the logs of the processes from growing without end, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(_bound_logs, self._children)

    async def _become_ready(self) -> None:
        """Wait until every device is ready, or left to guests. Errors: BadMachine."""
        self._tell(Event("waiting", "waiting for the devices"))
        why = "the kernel does not answer"
        try:
            async with time_limit(self._wait):
                while why := await ask_why_not(self._plan, self._wait):  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise BadMachine(
                f"{self._plan.name} is not ready after {self._wait:g} seconds ({why}): see the"
                f" logs in {self._plan.run_dir}, or allow more with --wait"
            ) from None
        self._ready = True
        self._status = "ready"
        self._save()
        self._tell(Event("ready", f"{self._plan.name} is ready at {self._plan.kernel.address}"))

    async def _keep(self, child: Child) -> None:
        """Restart a process whenever it ends. Errors: BadMachine when it never became ready."""
        restarts = Restarts()
        while True:
            status = await child.wait()
            how = f"{child.name} ended ({spell_exit(status)}): {child.last_line()}"
            if not self._ready:
                raise BadMachine(f"{self._plan.name} does not start: {how}")
            await self._revive(child, restarts, how)
            self._save()
            self._tell(
                Event("restarted", f"{child.name} is restarted (pid {child.pid})", child.name)
            )

    async def _revive(self, child: Child, restarts: Restarts, how: str) -> None:
        """Start a process that has ended. A host that has none to give is asked again."""
        lasted = child.lasted
        while True:
            if child.restart.is_set():
                restarts.forget()
            else:
                self._tell(Event("died", how, child.name))
                delay = restarts.delay(lasted)
                if delay is None:
                    await self._hold(child, how)
                    restarts.forget()
                else:
                    await child.pause(delay)
            child.restart.clear()
            if child is self._kernel:
                self._look_at_security()
            try:
                await child.start(again=True)
            except (BadMachine, OSError) as error:
                how, lasted = f"{child.name} is not started: {error}", 0.0
            else:
                return

    async def _hold(self, child: Child, how: str) -> None:
        """Leave a process down until somebody wants it back."""
        child.hold(
            f"it ended {QUICK_MAX + 1} times within {QUICK_SECONDS:g} seconds of its start, at"
            f" last: {how}"
        )
        self._save()
        mend = f"mend that, and bring it back with `virtmesh restart {child.name}`"
        self._tell(Event("held", f"{child.name} is held: {child.held}; {mend}", child.name))
        await child.restart.wait()
        child.held = ""

    async def _stop_all(self) -> None:
        """Stop the kernel, so that it gives the devices back, then the devices."""
        self._status = "stopping"
        self._tell(Event("stopping", f"stopping {self._plan.name}"))
        await self._kernel.stop()
        await asyncio.gather(*(device.stop() for device in self._devices))
        rundir.clean(self._plan.run_dir)
        self._tell(Event("stopped", f"{self._plan.name} is stopped"))

    def _look_at_security(self) -> None:
        """Take note of the security folder that the kernel service is about to open."""
        path = self._plan.security
        self._security = None if path is None else rundir.FolderState.of(path)

    def _save(self) -> None:
        """Write state.json."""
        pid = os.getpid()
        run_folder.save(
            rundir.MachineState(
                name=self._plan.name,
                run_dir=str(self._plan.run_dir),
                address=self._plan.kernel.address,
                status=self._status,
                supervisor=rundir.ProcessState(
                    name="supervisor",
                    kind="supervisor",
                    pid=pid,
                    start_ticks=rundir.start_ticks(pid) or 0,
                ),
                processes=tuple(child.state for child in self._children if child.pid),
                warnings=self._plan.warnings,
                addresses=self._plan.addresses,
                security=self._security,
            )
        )


def _bound_logs(children: Iterable[Child]) -> None:
    """Keep logs from growing without end. All in one turn of a thread: there may be 64."""
    for child in children:
        with contextlib.suppress(OSError):  # somebody has removed or replaced it
            child.bound_log()


async def supervise(
    plan: Plan, template: Template, wait: float, report: Callable[[Event], None]
) -> bool:
    """Run a plan until SIGINT or SIGTERM; see `Supervisor.run`."""
    supervisor = Supervisor(plan, template, wait=wait, report=report)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.stop)
    return await supervisor.run()
