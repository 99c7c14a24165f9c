"""What lies in the working folder is no kind of device: no process that is started imports it."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT
from virtmesh.local.module_process import module_argv
from virtmesh.local.plan import make_plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.cli import Cli

pytestmark = pytest.mark.processes

KIND = """
from pathlib import Path

from virtmesh.kinds import DeviceKind

(Path(__file__).parents[1] / "imported").touch()
KIND = DeviceKind(name="toy", title="A toy.", make=print, virtio_device_id=4)
"""
"""A kind that leaves a file in the folder of its package when it is imported."""
MACHINE = '[[devices]]\nname = "serial"\nkind = "uart"\n'


@pytest.fixture
def was_imported(cli: Cli) -> Callable[[], bool]:
    """Put a kind into the working folder; return what says whether it was imported."""
    package = cli.folder / "virtmesh_toy"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "kind.py").write_text(KIND)
    return (cli.folder / "imported").exists


def test_no_process_of_a_machine_imports_it(cli: Cli, was_imported: Callable[[], bool]) -> None:
    """Neither the supervisor nor the kernel service nor a device."""
    cli.up("--serial")
    devices = cli("devices")
    down = cli("down")

    assert (devices.returncode, down.returncode) == (0, 0)
    assert not was_imported()


def test_a_planned_device_finds_it_in_pythonpath_alone(
    cli: Cli, was_imported: Callable[[], bool]
) -> None:
    """The help of `virtmesh-device` imports every kind that there is."""
    (cli.folder / "machine.toml").write_text(MACHINE)
    plan = make_plan(cli.folder / "machine.toml", cli.run_dir)
    (device,) = plan.devices
    command = module_argv(device.start.module)
    environment = dict(os.environ)

    def kinds() -> list[str]:
        done = subprocess.run(
            [*command, "--help"],
            cwd=cli.folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return re.findall(r"^  (\S+) ", done.stdout.partition("Commands:")[2], re.MULTILINE)

    assert kinds() == ["blk", "gpu", "input", "uart"]
    assert not was_imported()

    given = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([str(cli.folder), *([given] if given else [])])
    assert kinds() == ["blk", "gpu", "input", "toy", "uart"]
    assert was_imported()


def test_every_process_is_started_without_the_working_folder() -> None:
    """The template, which forks those of a plan, and the health check of a container."""
    assert module_argv("virtmesh.local.template")[1:] == ("-P", "-m", "virtmesh.local.template")

    started = re.findall(r"python (.*)-m virtmesh", (ROOT / "deploy" / "Dockerfile").read_text())
    assert started == ["-P "]
