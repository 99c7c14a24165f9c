"""The supervisor of a machine on a thread of its own, with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Self

from virtmesh.local.supervise import Event, Supervisor
from virtmesh.local.template.client import Template
from virtmesh_common.errors import BadMachine

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.local.plan import Plan


class SupervisedMachine:
    """The processes of a machine, supervised on a thread of their own, in a `with`.

    Errors of `wait_ready`: BadMachine, ServiceUnavailable.
    """

    def __init__(self, plan: Plan, wait: float, report: Callable[[Event], None]) -> None:
        self._plan = plan
        self._wait = wait
        self._report = report
        self._news = threading.Event()
        """Set when the machine is ready, or has ended."""
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._supervisor: Supervisor | None = None
        self._stopped = False
        self.ended = threading.Event()
        """Set when every process has ended."""
        self._thread = threading.Thread(target=self._run, name="virtmesh-supervisor")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self._thread.join()

    def wait_ready(self) -> None:
        """Wait until every device is attached and the guest boots."""
        self._news.wait()
        self.check()

    def check(self) -> None:
        """Raise what has ended the machine, if anything has. Errors: BadMachine."""
        if self._error is not None:
            raise self._error
        if self.ended.is_set() and not self._stopped:
            raise BadMachine("the machine has ended: see its logs")

    def stop(self) -> None:
        """Begin to stop the machine."""
        self._stopped = True
        loop, supervisor = self._loop, self._supervisor
        if loop is not None and supervisor is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                loop.call_soon_threadsafe(supervisor.stop)

    def _run(self) -> None:
        try:
            asyncio.run(self._supervise())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        finally:
            self.ended.set()
            self._news.set()

    async def _supervise(self) -> None:
        self._loop = asyncio.get_running_loop()
        with Template() as template:
            self._supervisor = Supervisor(self._plan, template, wait=self._wait, report=self._tell)
            if not self._stopped:
                await self._supervisor.run()

    def _tell(self, event: Event) -> None:
        self._report(event)
        if event.kind == "ready":
            self._news.set()
