"""The stack of docker-compose.yml does what the README says, and is as closed as it says."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.compose.containers import check_closed, check_read_only, run_in
from tests.support.intruder import attempts
from virtmesh.testing.screen_text import read_screen
from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.api.kernel.v1 import input_device_pb2
from virtmesh_common.api.kernel.v1.input_device_pb2_grpc import InputDeviceServiceStub
from virtmesh_common.api.uart.v1 import uart_pb2
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.channel import DEVICE_KEY
from virtmesh_common.evdev import code_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.compose.conftest import Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]  # the first one builds the images

SERVICES = [
    "disk", "gpu", "kernel", "keyboard", "mouse", "panel", "prometheus", "serial", "tablet",
]  # fmt: skip
IMAGE_BYTES = 64 << 20


def make_ext4(folder: Path) -> Path:
    """Make an ext4 image with files in it."""
    files = folder / "files"
    files.mkdir()
    (files / "hello.txt").write_text("hello, disk\n")
    (files / "noise.bin").write_bytes(os.urandom(8 << 20))
    image = folder / "source.img"
    mke2fs = shutil.which("mke2fs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert mke2fs, "no mke2fs: apt-get install e2fsprogs"
    size = f"{IMAGE_BYTES >> 10}k"
    subprocess.run([mke2fs, "-q", "-t", "ext4", "-d", str(files), str(image), size], check=True)
    return image


def sha256(path: Path, size: int) -> str:
    """Hash the first `size` bytes of a file."""
    with path.open("rb") as file:
        return hashlib.sha256(file.read(size)).hexdigest()


def test_every_service_is_healthy(stack: Stack) -> None:
    """All services run and are healthy; Grafana has a test of its own. Two have done their work."""
    states = {name: container.attrs["State"] for name, container in stack.services.items()}
    health = {name: one["Health"]["Status"] for name, one in states.items() if "Health" in one}
    ended = {name: one["ExitCode"] for name, one in states.items() if "Health" not in one}

    assert set(health) - {"grafana"} == set(SERVICES)
    assert set(health.values()) == {"healthy"}
    assert ended == {"certs": 0, "prometheus-certificate": 0}


@pytest.mark.parametrize("service", SERVICES)
def test_containers_are_closed(stack: Stack, service: str) -> None:
    """A container has no root, no capabilities, no way to new ones, and limits."""
    check_closed(stack.services[service])


@pytest.mark.parametrize("service", SERVICES)
def test_root_is_read_only(stack: Stack, service: str) -> None:
    """The root file system of a container is mounted read-only."""
    check_read_only(stack.services[service])


USERS = {
    "disk": 10001, "gpu": 10016, "kernel": 10002, "keyboard": 10012, "mouse": 10013,
    "panel": 10003, "serial": 10015, "tablet": 10014,
}  # fmt: skip
"""Of the services that are ours: the disk's owns the folder of the images."""


def test_each_service_is_a_user_of_its_own(stack: Stack) -> None:
    """And a device's group has nobody else but the kernel service."""
    status = {
        name: run_in(stack.services[name], "cat", "/proc/1/status").splitlines() for name in USERS
    }
    users = {name: next(x for x in lines if x.startswith("Uid:")) for name, lines in status.items()}
    groups = {
        name: {
            int(group)
            for line in lines
            if line.startswith(("Gid:", "Groups:"))
            for group in line.split()[1:]
        }
        for name, lines in status.items()
    }

    assert {name: int(line.split()[1]) for name, line in users.items()} == USERS
    of_kernel = {uid for name, uid in USERS.items() if name != "panel"}
    others = {"kernel": of_kernel, "panel": {USERS["panel"], USERS["kernel"]}}
    assert groups == {name: others.get(name, {uid}) for name, uid in USERS.items()}


def test_services_are_confined_in_their_containers(stack: Stack) -> None:
    """By their own filters, beside that of the container: Docker's own is the first."""
    for name in set(USERS) - {"panel"}:
        status = run_in(stack.services[name], "cat", "/proc/1/status")
        assert re.search(r"^Seccomp_filters:\t[4-9]$", status, re.MULTILINE), name


REACHED = (
    "read the image of a disk", "write to the image of a disk", "connect to the kernel",
    "connect to the disk", "connect by TCP", "send by UDP", "hand memory over to the disk",
    "read the passwords of the host",
    "change the code of the service", "add a module", "read the memory of another service",
    "read the environment of another service", "see the files of another service",
    "trace another service", "unshare the user namespace", "enter another's namespaces", "mount",
    "load a BPF program", "watch the processor", "load a kernel module",
)  # fmt: skip


def test_who_is_in_the_container_of_the_keyboard_reaches_nothing_else(stack: Stack) -> None:
    """Started there by `exec`, so outside of the sandbox of the service."""
    package = "/opt/virtmesh/lib/python3.11/site-packages"
    goals = {
        "image": "/var/lib/virtmesh/vda.img",
        "kernel": "/run/virtmesh/kernel/kernel.sock",
        "disk": "/run/virtmesh/vda/device.sock",
        "code": f"{package}/virtmesh/__init__.py",
        "packages": package,
        "sibling": 1,
        "host": "kernel",
        "port": 50051,
    }
    source = Path(attempts.__file__).read_text(encoding="utf-8")
    source += f"\nimport json\nprint(json.dumps({{x: attempt(x, {goals}) for x in {REACHED}}}))\n"

    said = json.loads(run_in(stack.services["keyboard"], "python", "-P", "-c", source))

    assert [name for name, what in said.items() if what == "done"] == []
    assert set(said) == set(REACHED)


def test_only_this_host_reaches_the_stack(stack: Stack) -> None:
    """Ports are published on the loopback address, the disk's not at all."""
    published = {
        binding["HostIp"]
        for container in stack.services.values()
        for bindings in container.ports.values()
        for binding in bindings or ()
    }

    assert published == {"127.0.0.1"}
    assert not any(stack.services["disk"].ports.values())


def test_the_panel_is_open_to_who_has_its_log(stack: Stack) -> None:
    """The token in it opens the machine, nothing else does."""
    logged = stack.services["panel"].logs().decode()
    match = re.search(r"#token=(\S+)", logged)
    assert match, logged
    url = f"http://{stack.address('panel', 8080)}/api/devices/vda/registers"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url, timeout=10)
    bearer = {"Authorization": f"Bearer {match[1]}"}
    asked = urllib.request.Request(url, headers=bearer)
    with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - it is http
        assert json.load(answer)["kind"] == "blk"


def test_image_survives_the_round_trip(stack: Stack, tmp_path: Path) -> None:
    """An ext4 image goes through client, kernel, queue and disk, and comes back the same."""
    source = make_ext4(tmp_path)
    export = tmp_path / "export.img"

    stack.virtmesh("blk", "import", "vda", str(source))
    stack.virtmesh("blk", "export", "vda", str(export))

    assert sha256(export, IMAGE_BYTES) == sha256(source, IMAGE_BYTES)
    stored = run_in(
        stack.services["disk"],
        *("sh", "-c", f"head --bytes={IMAGE_BYTES} /var/lib/virtmesh/vda.img | sha256sum"),
    )
    assert stored.split()[0] == sha256(source, IMAGE_BYTES)


def test_prometheus_reaches_the_machine(stack: Stack) -> None:
    """One target has the whole machine, by TLS; every device is up, and the disk's size known."""

    def ask(query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = stack.get("prometheus", 9090, f"api/v1/query?query={query}")[
            "data"
        ]["result"]
        return found

    def targets() -> dict[str, str]:
        answer = stack.get("prometheus", 9090, "api/v1/targets?state=active")
        return {one["scrapeUrl"]: one["health"] for one in answer["data"]["activeTargets"]}

    stack.eventually(
        lambda: (
            targets()
            == {"https://kernel:9464/metrics": "up", "http://localhost:9090/metrics": "up"}
        ),
        "all targets are up",
    )
    stack.eventually(lambda: len(ask("virtmesh_machine_device_up==1")) == 6, "all devices are up")
    (capacity,) = ask("virtmesh_blk_capacity_bytes")
    assert capacity["metric"]["device"] == "vda"
    assert int(capacity["value"][1]) == 128 << 20


def test_prometheus_has_the_rules(stack: Stack) -> None:
    """Every group of recording and alert rules is loaded."""
    answer = stack.get("prometheus", 9090, "api/v1/rules")

    files = {group["file"].rpartition("/")[2] for group in answer["data"]["groups"]}
    assert files == {"alerts.yml", "recording.yml"}


def test_keys_reach_the_kernel(stack: Stack) -> None:
    """A key pressed in a container's keyboard, from outside, is what the driver receives."""
    kind, key = code_of("KEY_A")
    press = [input_pb2.Event(type=kind, code=key, value=value) for value in (1, 0)]
    packets = [
        input_pb2.InjectRequest(sequence=number, events=[event])
        for number, event in enumerate(press)
    ]
    with stack.channel() as channel:
        watch = InputDeviceServiceStub(channel).Watch(
            input_device_pb2.WatchRequest(device="keyboard"), timeout=60
        )
        start = next(watch).sequence

        answers = InputServiceStub(channel).Inject(
            iter(packets), metadata=((DEVICE_KEY, "keyboard"),), timeout=60
        )
        accepted = [answer.outcome for answer in answers]
        events: list[int] = []
        for response in watch:
            events += response.events
            if response.sequence == start + 4:
                break

    assert accepted == [input_pb2.OUTCOME_ACCEPTED] * 2
    assert events == [kind << 48 | key << 32 | 1, 0, kind << 48 | key << 32, 0]


def test_a_container_types_a_text(stack: Stack) -> None:
    """The image has libxkbcommon, the layouts and the dead keys."""
    request = input_pb2.TypeRequest(
        text="Grüße é", layout="de", sending=input_pb2.Sending(wait_delivered=True)
    )
    with stack.channel() as channel:
        sent = (
            InputServiceStub(channel)
            .Type(request, metadata=((DEVICE_KEY, "keyboard"),), timeout=60)
            .sent
        )
    assert {one.outcome for one in sent.packets} == {input_pb2.OUTCOME_DELIVERED}


def test_the_console_answers(stack: Stack) -> None:
    """The monitor of the kernel's container is reached over the serial port's container."""
    requests = [
        uart_pb2.OpenRequest(start=uart_pb2.Start(watch=True)),
        uart_pb2.OpenRequest(input=uart_pb2.Input(data=b"lsdev\r")),
    ]
    with stack.channel() as channel:
        answers = UartServiceStub(channel).Open(
            iter(requests), metadata=((DEVICE_KEY, "serial"),), timeout=60
        )
        shown = b""
        while b"tablet" not in shown:
            shown += next(answers).output.data
        answers.cancel()

    assert b"VirtIOBlk" in shown


def test_the_screen_shows_what_is_typed(stack: Stack) -> None:
    """The kernel's container draws on the screen's, and the glyphs are read from outside."""
    with stack.connect() as machine:
        screen = machine.screen("gpu")

        def lines() -> Sequence[str]:
            pixels = screen.pixels()
            return read_screen(pixels.width, pixels.height, pixels.data)

        machine.input("keyboard").key("ctrl+u")
        machine.input("keyboard").type("uname\n", wait="delivered")
        stack.eventually(lambda: "virtmesh> uname" in lines(), "what is typed is on the screen")
        stack.eventually(
            lambda: lines()[lines().index("virtmesh> uname") + 1].endswith(" compose"),
            "the monitor has answered",
        )


def test_grafana_has_the_dashboard(stack: Stack) -> None:
    """Anybody who looks at Grafana finds the dashboard, without logging in."""
    if "grafana" not in stack.services:
        pytest.skip("grafana is left out: its image can't be had here")

    answer = stack.get("grafana", 3000, "api/dashboards/uid/virtmesh-overview")

    assert answer["dashboard"]["title"] == "virtmesh"


def test_kernel_takes_a_restarted_disk_back(stack: Stack, tmp_path: Path) -> None:
    """The disk stops cleanly; started again, it is probed again, and the data is there."""
    source = tmp_path / "source.bin"
    source.write_bytes(os.urandom(1 << 20))
    export = tmp_path / "export.img"
    stack.virtmesh("blk", "import", "vda", str(source))

    stack.services["disk"].stop(timeout=30)
    stopped = stack.services["disk"].attrs["State"]
    stack.services["disk"].start()
    stack.wait_until_ready()
    stack.virtmesh("blk", "export", "vda", str(export))

    assert stopped["ExitCode"] == 0
    assert sha256(export, 1 << 20) == sha256(source, 1 << 20)


def test_down_leaves_nothing(stack: Stack) -> None:
    """Down with the volumes takes containers, volumes and networks away; so this test is last."""
    stack.run("down", "--volumes")

    assert stack.leftovers() == []
