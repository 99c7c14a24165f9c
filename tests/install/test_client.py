"""The client's wheel, where there is no compiler, drives a machine that is elsewhere."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import virtmesh_client
from tests.support.cli import own_folder
from tests.support.empty_debian import EmptyDebian, empty_debian
from virtmesh_client.input.decode import Decoder

if TYPE_CHECKING:
    from pathlib import Path

    import docker

TEXT = "Grüße"
LAYOUT = "de"
COMPILERS = ("cc", "gcc", "rustc", "cargo")
TEXT_PACKAGES = ("libxkbcommon0", "xkb-data", "libx11-data")
VIRTMESH = "/opt/client/bin/virtmesh"
WATCH_SECONDS = 120.0


def install_client(debian: EmptyDebian) -> None:
    """Install the wheel into a new environment; what it needs comes as wheels too."""
    debian.install("python3", "python3-venv")
    for program in COMPILERS:
        assert not debian.has(program)
    debian.run("test ! -e /usr/include/python3.11/Python.h")
    debian.run("python3 -m venv /opt/client")
    debian.run(
        "/opt/client/bin/pip install --quiet --only-binary :all:"
        " /wheels/virtmesh_common-*.whl /wheels/virtmesh_client-*.whl"
    )


def test_the_client_works_without_a_compiler(engine: docker.DockerClient, wheels: Path) -> None:
    """Help, the devices, and text by layout, with and without the library that knows layouts."""
    with own_folder() as cli:
        cli.up("--input", "keyboard", "--no-serial")
        socket = cli.state.address.removeprefix("unix:").removeprefix(str(cli.run_dir))
        mounts = {wheels: "/wheels", cli.run_dir: "/machine"}
        with empty_debian(engine, mounts) as debian:
            install_client(debian)
            machine = f"{VIRTMESH} --address unix:/machine{socket}"
            type_it = f"{machine} input type --layout {LAYOUT} --wait delivered --json '{TEXT}'"

            assert "Commands:" in debian.run(f"{VIRTMESH} --help").stdout
            (device,) = json.loads(debian.run(f"{machine} --json devices").stdout)
            assert (device["name"], device["state"]) == ("keyboard", "ready")
            assert "pip install virtmesh" in debian.run(f"{VIRTMESH} up", check=False).stdout

            def typed() -> str:
                """Type the text there; return what the driver received, as text."""
                with (
                    virtmesh_client.connect(cli.state.address) as elsewhere,
                    elsewhere.input("keyboard").watch(seconds=WATCH_SECONDS) as watch,
                ):
                    packets = json.loads(debian.run(type_it).stdout)["packets"]
                    # Each packet is a key and its SYN_REPORT.
                    received = [one.event for one in itertools.islice(watch, 2 * packets)]
                return Decoder(LAYOUT).read(received)

            assert typed() == TEXT  # The device service finds the keys.
            debian.run(f"{machine} input key a")
            debian.install(*TEXT_PACKAGES)
            assert typed() == TEXT
