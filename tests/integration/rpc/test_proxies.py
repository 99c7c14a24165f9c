"""HTTP proxies of the environment: never to this host or between services, and named in errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from tests.support.cli import Cli, own_folder
from tests.support.connect_proxy import ConnectProxy
from tests.support.ports import free_port
from virtmesh_common.proxy import VARIABLES

pytestmark = pytest.mark.processes

LIST = """
import sys, virtmesh_client
with virtmesh_client.connect({address!r}, timeout=20, insecure=True{options}) as machine:
    try:
        print([device.state for device in machine.devices()])
    except Exception as error:
        print(type(error).__name__, error.message)
"""
MACHINE = """
name = "near"
[kernel]
listen = ["0.0.0.0:{port}"]
[security]
insecure = true
[[devices]]
name = "vda"
kind = "blk"
{place}
[devices.options]
image = "disk.img"
size = "1M"
"""


def script(address: str, options: str = "", **environment: str) -> str:
    """List the devices in a process of its own, as a user's script does."""
    code = textwrap.dedent(LIST).format(address=address, options=options)
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Start a machine whose kernel listens on TCP; give its port."""
    port = free_port()
    with own_folder() as cli:
        (cli.folder / "machine.toml").write_text(MACHINE.format(port=port, place=""))
        cli.up()
        yield port


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_leads_to_this_host(port: int, variable: str, host: str) -> None:
    """A name or an address of this host is reached directly, whatever the environment says."""
    with ConnectProxy() as proxy:
        answer = script(f"{host}:{port}", **{variable: proxy.url})

    assert answer == "['ready']\n"
    assert not proxy.targets


def test_another_host_is_reached_as_the_environment_says(port: int) -> None:
    """Through the proxy; not for a host in no_proxy, and not with proxy=False."""
    host = own_address()
    address = f"{host}:{port}"
    with ConnectProxy() as proxy:
        through = script(address, http_proxy=proxy.url)
        asked = list(proxy.targets)
        around = script(address, http_proxy=proxy.url, no_proxy=f"example.org, {host}")
        without = script(address, ", proxy=False", http_proxy=proxy.url)

    assert through == around == without == "['ready']\n"
    assert asked == proxy.targets == [address]


def test_a_refusal_of_the_proxy_names_it_and_no_proxy() -> None:
    """The user learns that a proxy stands between, which variable says so, and what to do."""
    with ConnectProxy(refuse=403) as proxy:
        answer = script("192.0.2.1:50051", https_proxy=proxy.url.replace("//", "//me:secret@"))

    assert answer.startswith("ServiceUnavailable no service answers at 192.0.2.1:50051: the proxy")
    assert "403" in answer
    assert f"https_proxy={proxy.url}" in answer
    assert "add 192.0.2.1 to no_proxy" in answer
    assert "secret" not in answer


def test_the_kernel_reaches_its_devices_without_a_proxy(cli: Cli) -> None:
    """What the services of a machine say to one another leaves through no proxy."""
    host, port = own_address(), free_port()
    place = f'endpoint = "{host}:{free_port()}"\nhandover = "vda.handover"'
    machine = MACHINE.format(port=port, place=place) + "insecure = true\n"
    (cli.folder / "machine.toml").write_text(machine)
    with ConnectProxy() as proxy:
        cli.environment |= dict.fromkeys(VARIABLES, proxy.url)
        cli.up()
        forwarded = cli("blk", "info", "vda", "--address", f"127.0.0.1:{port}")

    assert not forwarded.returncode, forwarded.stderr
    assert not proxy.targets


def own_address() -> str:
    """Return an address of this host that is not loopback."""
    shown = subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, check=True)
    found = [
        str(one["local"])
        for interface in json.loads(shown.stdout)
        for one in interface["addr_info"]
        if one["scope"] == "global"
    ]
    if not found:
        pytest.skip("this host has no address beside loopback")
    return found[0]
