"""With deploy/compose/cpu.yml, a kernel of the user's drives the containers of the devices."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.compose.conftest import ROOT, WITH_CPU, Stack, with_cpu
from tests.compose.containers import check_closed, check_read_only, run_in
from tests.support.riscv.small_kernels import COMPILER, DISK_GUEST, build_c, has_compiler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import docker

    from virtmesh_client import Machine

    Kill = Callable[[Stack, str], None]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]  # the first one builds the images

ROUND = re.compile(rb"round ([0-9a-f]{8})\r\n")


@pytest.fixture(scope="module")
def stack(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start the stack with a small kernel that works on its disk for ever."""
    if not has_compiler():
        pytest.skip(f"{COMPILER} is not installed")
    folder = tmp_path_factory.mktemp("guest")
    folder.chmod(0o755)
    kernel = build_c(folder, DISK_GUEST)
    with with_cpu(engine, folder, kernel.name, MEMORY="64M") as stack:
        yield stack


@pytest.fixture
def machine(stack: Stack) -> Iterator[Machine]:
    """Connect to the CPU service, which is where the kernel service was."""
    with stack.connect() as machine:
        yield machine


def round_of(machine: Machine) -> int:
    """Wait until the guest says how far it is."""
    with machine.serial("serial", timeout=60) as port:
        found = port.expect(ROUND).groups[0]
    assert found
    return int(found, 16)


def test_the_guest_drives_the_disk(machine: Machine) -> None:
    """Its console is reached through the CPU service's gateway; it breaks no rule of a device."""
    first = round_of(machine)

    assert round_of(machine) > first
    assert {one.state for one in machine.devices()} == {"ready"}
    assert machine.report("vda").violations == machine.report("serial").violations == ()


def test_the_command_looks_at_the_cpu(stack: Stack) -> None:
    """As at one of `virtmesh boot`."""
    registers = json.loads(stack.virtmesh("cpu", "regs", "--json"))
    status = json.loads(stack.virtmesh("cpu", "status", "--json"))

    assert int(registers["pc"], 16) >> 16 == 0x8000
    assert status["state"] == "running"


def test_the_container_of_the_cpu_is_closed(stack: Stack) -> None:
    """As each of the others. It can't write the folder of the guest."""
    container = stack.services["kernel"]

    check_closed(container)
    check_read_only(container)
    mounts = run_in(container, "cat", "/proc/1/mounts").splitlines()
    (guest,) = (line.split()[3] for line in mounts if line.split()[1] == "/guest")
    assert "ro" in guest.split(",")


def test_every_panel_of_its_dashboard_has_data(stack: Stack) -> None:
    """The same scrape configuration serves: the CPU is where the kernel service was."""
    board = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "cpu.json").read_text())
    rows = (panel for panel in board["panels"] if panel["type"] != "row")
    asked = [target["expr"] for panel in rows for target in panel["targets"]]

    def answers(expression: str) -> Any:
        chosen = re.sub(r"\$(machine|device)", ".+", expression)
        query = urlencode({"query": chosen.replace("$__rate_interval", "1m")})
        return stack.get("prometheus", 9090, f"api/v1/query?{query}")["data"]["result"]

    for expression in asked:
        stack.eventually(partial(answers, expression), f"there is data for {expression}")
    (mips,) = answers(next(one for one in asked if "instructions" in one))
    assert mips["metric"] == {"machine": "compose"}
    assert float(mips["value"][1]) > 0


def kill_process(stack: Stack, service: str) -> None:
    """Kill the process of a container, as a crash does: Docker starts it again."""
    os.kill(stack.services[service].attrs["State"]["Pid"], signal.SIGKILL)


def kill_container(stack: Stack, service: str) -> None:
    """Kill a container by Docker, which takes it for the user's wish, and start it again."""
    stack.services[service].kill()
    stack.services[service].start()


@pytest.mark.parametrize(
    ("kill", "service"),
    [(kill_process, "disk"), (kill_container, "disk"), (kill_process, "serial")],
)
def test_the_guest_goes_on_when_a_device_is_killed(
    stack: Stack, machine: Machine, kill: Kill, service: str
) -> None:
    """It sees a delay. It compares what it reads with what it wrote, and would fail."""
    before = machine.cpu().stats()["restorations"]
    at = round_of(machine)
    kill(stack, service)
    stack.eventually(
        lambda: machine.cpu().stats()["restorations"] == before + 1, "it is set up again"
    )

    assert round_of(machine) > at
    assert machine.cpu().status().state == "running"


def test_the_guest_powers_off(machine: Machine) -> None:
    """All of its rounds were right; the machine can be asked afterwards. So this is nearly last."""
    with machine.serial("serial", timeout=60) as port:
        port.write(b"q")
        port.expect(rb"all right: ")
    Stack.eventually(lambda: machine.cpu().status().state == "off", "the guest is off")

    assert machine.cpu().status().reason == "poweroff"


@pytest.mark.parametrize("missing", ["VIRTMESH_GUEST", "VIRTMESH_GUEST_KERNEL"])
@pytest.mark.usefixtures("engine")
def test_a_setting_that_is_missing_is_named(missing: str) -> None:
    """Before anything is started."""
    settings = {"VIRTMESH_GUEST": str(ROOT), "VIRTMESH_GUEST_KERNEL": "Image"}
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "stack.py", "up"],
        env={**os.environ, "COMPOSE_FILE": WITH_CPU, **settings, missing: ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 1
    assert f"set {missing} to the" in done.stderr


def test_down_leaves_nothing(stack: Stack) -> None:
    """Down with the volumes takes containers, volumes and networks away; so this test is last."""
    stack.run("down", "--volumes")

    assert stack.leftovers() == []
