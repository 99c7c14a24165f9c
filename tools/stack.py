"""Build, start, check and stop the stack of docker-compose.yml.

Usage: python tools/stack.py {up,down,build,check} [options]

`up` is `docker-compose up --build --detach` with two things added: it waits until every service is
healthy, and on a host that reaches no registry of container images it has the base images made from
Debian packages (deploy/offline). A service whose image can't be had is left out, and it says so.
COMPOSE_PROJECT_NAME and the settings of .env.example count, as they do for docker-compose. So does
COMPOSE_FILE: docker-compose.yml:deploy/compose/cpu.yml is the machine with a CPU. `build` and
`check` see to both machines.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import docker
from docker.errors import DockerException, ImageNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docker.models.containers import Container

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
COMPOSE_FILE = ROOT / "docker-compose.yml"
WITH_CPU = ("--file", "docker-compose.yml", "--file", "deploy/compose/cpu.yml")
"""Options of Compose for the machine with a CPU."""
ANY_GUEST = {"VIRTMESH_GUEST": str(ROOT), "VIRTMESH_GUEST_KERNEL": "any"}
"""Settings that it has no defaults for, where no guest is started."""
OFFLINE = ROOT / "deploy" / "offline" / "base-images.sh"
MADE_OFFLINE = ("debian:", "prom/prometheus:")
BASE_IMAGE = re.compile(r"^FROM (\S+:\S+)", re.MULTILINE)
FOREIGN_SERVICE = re.compile(
    r"^  (?P<name>[a-z]+):\n(?:    .*\n)*?    image: (?P<image>[^\s$]+)$", re.MULTILINE
)
"""A service of the compose file with an image that is not built here."""


class StackError(Exception):
    """What went wrong, with the mend."""


def find_compose() -> list[str]:
    """Return how Compose is called here: v2 if it is there, else 1.29. Errors: StackError."""
    if shutil.which("docker"):
        probe = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if probe.returncode == 0:
            return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise StackError("no docker-compose: apt-get install docker-compose")


def compose(*arguments: str, with_cpu: bool = False) -> None:
    """Run Compose on the stack, or on that with a CPU for any guest. Errors: StackError."""
    command = [*find_compose(), *(WITH_CPU if with_cpu else ()), *arguments]
    environment = {**os.environ, **(ANY_GUEST if with_cpu else {})}
    if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0:
        raise StackError(f"docker-compose {arguments[0]} failed")


def ask_compose(*arguments: str) -> list[str]:
    """Run Compose on the stack and return the words it printed. Errors: StackError."""
    answer = subprocess.run(
        [*find_compose(), *arguments], cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True
    )
    if answer.returncode != 0:
        raise StackError(f"docker-compose {arguments[0]} failed")
    return answer.stdout.split()


def connect() -> docker.DockerClient:
    """Connect to the Docker engine. Errors: StackError."""
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        raise StackError(f"no Docker engine answers: systemctl start docker ({error})") from error
    return client


def get_image(client: docker.DockerClient, image: str) -> bool:
    """Get an image from this host, a registry, or Debian packages; say whether it is there now."""
    try:
        client.images.get(image)
    except ImageNotFound:
        say(f"getting {image}")
    else:
        return True
    try:
        client.images.pull(image)
    except DockerException as error:
        say(f"{image} can't be pulled: {error}")
    else:
        return True
    if not image.startswith(MADE_OFFLINE):
        return False
    return subprocess.run([OFFLINE, image], check=False).returncode == 0


def get_images(client: docker.DockerClient) -> list[str]:
    """Get the images that are not built here; return the services that can run, all or some.

    Errors: StackError.
    """
    for image in sorted(set(BASE_IMAGE.findall(DOCKERFILE.read_text()))):
        if not get_image(client, image):
            raise StackError(f"there is no {image} to build on: see deploy/offline/README.md")
    services = ask_compose("config", "--services")
    for service in FOREIGN_SERVICE.finditer(COMPOSE_FILE.read_text()):
        if not get_image(client, service["image"]):
            say(f"{service['name']} is left out: {service['image']} can't be had here")
            services.remove(service["name"])
    return services


def wait_until_healthy(client: docker.DockerClient, started: float, deadline: float) -> None:
    """Wait until all containers of the stack are healthy; show the logs of those that are not.

    Times are seconds since 1970. Events from `started` on are replayed, so that none is missed.
    Errors: StackError, at the deadline or as soon as a container ends.
    """
    waiting = {}
    for key in ask_compose("ps", "--quiet"):
        container = client.containers.get(key)
        state = container.attrs["State"]
        if "Health" not in state:  # it does its work before others start, and ends
            continue
        if state["Health"]["Status"] != "healthy":
            waiting[key] = container
    events = client.events(
        decode=True,
        since=int(started),
        until=int(deadline),
        filters={"container": list(waiting), "event": ["health_status", "die"]},
    )
    while waiting:
        event = next(events, None)
        if event is None:
            show_logs(waiting.values())
            names = ", ".join(str(container.name) for container in waiting.values())
            raise StackError(f"not healthy in time: {names}")
        if event["id"] not in waiting:
            continue
        if event["status"] != "health_status: healthy":
            container = waiting[event["id"]]
            show_logs([container])
            raise StackError(f"{container.name} did not start: {event['status']}")
        say(f"{waiting.pop(event['id']).name} is healthy")


def show_logs(containers: Iterable[Container]) -> None:
    """Print the last lines that containers wrote."""
    for container in containers:
        say(f"the last lines of {container.name}:")
        print(container.logs(tail=50).decode(errors="replace"), file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print a line about what is done."""
    print(f"stack: {text}", file=sys.stderr, flush=True)


def up(seconds: float) -> None:
    """Build and start the stack; wait until it is healthy. Errors: StackError."""
    client = connect()
    services = get_images(client)
    started = time.time()
    compose("up", "--build", "--detach", *services)
    wait_until_healthy(client, started, time.time() + seconds)
    address = ask_compose("port", "kernel", "50051")[0]
    say(
        "all healthy; once, to use it: docker-compose run --rm -T certs certs issue --role operator"
        f" me - | virtmesh login {address} -"
    )
    say(f"then: virtmesh --address {address} devices")


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    starting = actions.add_parser("up", help="build, start, wait until healthy")
    starting.add_argument("--timeout", type=float, default=180.0, metavar="SECONDS")
    stopping = actions.add_parser("down", help="stop; take the containers away")
    stopping.add_argument("--volumes", action="store_true", help="and the disks with them")
    actions.add_parser("build", help="build the images")
    actions.add_parser("check", help="check the files of Compose, if Compose is there")
    arguments = parser.parse_args()
    try:
        if arguments.action == "up":
            up(arguments.timeout)
        elif arguments.action == "down":
            compose("down", *(["--volumes"] if arguments.volumes else []))
        elif arguments.action == "build":
            get_images(connect())
            compose("build")
            compose("build", "kernel", with_cpu=True)
        else:
            check()
    except StackError as error:
        say(str(error))
        return 1
    return 0


def check() -> None:
    """Check the files of Compose; without Compose, say that it was not. Errors: StackError."""
    try:
        find_compose()
    except StackError as error:
        say(f"docker-compose.yml is not checked: {error}")
    else:
        compose("config", "--quiet")
        compose("config", "--quiet", with_cpu=True)


if __name__ == "__main__":
    raise SystemExit(main())
