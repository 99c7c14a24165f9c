"""A template of a test, whose services run Python texts."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import ROOT
from virtmesh.local.template.client import Template
from virtmesh.local.template.packets import Start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from virtmesh.local.template.client import Process


def find_services(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Let templates that begin now import from the folders, and from the tests."""
    given = os.environ.get("PYTHONPATH")
    path = [*map(str, folders), str(ROOT), *([given] if given else [])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


def running(text: str, *arguments: str) -> Start:
    """Return the start of a service that runs a text."""
    return Start("tests.support.forked", "forked", [text, *arguments])


class TemplateRig:
    """A template, and a log for each of its services."""

    def __init__(self, folder: Path, template: Template) -> None:
        self.template = template
        self._folder = folder
        self._started: list[Process] = []

    def log(self, number: int = 0) -> Path:
        """Return the log of a service, which are counted from 0."""
        return self._folder / f"{number}.log"

    async def start(self, text: str, *arguments: str) -> Process:
        """Start a service."""
        with self.log(len(self._started)).open("ab") as log:
            process = await self.template.start(running(text, *arguments), log)
        self._started.append(process)
        return process

    async def run(self, text: str) -> str:
        """Run a service to its end, and return its output."""
        process = await self.start(text)
        await process.wait()
        return self.log(len(self._started) - 1).read_text()

    def template_pid(self) -> int:
        """Return the process of the template: the parent of the last service that it started."""
        stat = Path(f"/proc/{self._started[-1].pid}/stat").read_text()
        return int(stat.rpartition(")")[2].split()[1])

    async def end(self) -> None:
        """Kill what still runs, and let the template end."""
        for process in self._started:
            process.send_signal(signal.SIGKILL)
        await asyncio.gather(*(process.wait() for process in self._started))
        self.template.close()


@asynccontextmanager
async def template_rig(folder: Path) -> AsyncIterator[TemplateRig]:
    """Begin a template."""
    rig = TemplateRig(folder, Template())
    try:
        yield rig
    finally:
        await rig.end()
