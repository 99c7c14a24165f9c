"""Guests whose root file system is on a virtmesh disk, and how they end."""

from __future__ import annotations

import re

import pytest

from virtmesh_client import connect
from virtmesh_client.guest.testing import Boot
from virtmesh_client.testing import Cli, eventually

KINDS = ("uml", "qemu")


@pytest.fixture
def rooted(cli: Cli) -> Cli:
    """Start a machine whose disk vda has the root file system that `guest image` makes."""
    made = cli("guest", "image", "root.img")
    assert made.returncode == 0, made.stderr
    cli.up("--vhost-user", "--no-serial", "--disk", "root.img")
    return cli


@pytest.mark.parametrize("kind", KINDS)
def test_a_guest_boots_to_a_shell_from_a_virtmesh_disk(
    kind: str, rooted: Cli, boot: dict[str, Boot]
) -> None:
    """Root is /dev/vda, and a file written there is there in the next guest."""
    with boot[kind](rooted) as first:
        mounts = first.run("cat /proc/mounts")
        first.run("echo still here > /note")
        status = first.end()
    with boot[kind](rooted) as second:
        note = second.run("cat /note")

    assert "/dev/vda / ext4 rw" in mounts
    assert status == 0
    assert note == "still here\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_without_a_root_file_system_leaves_the_shell_in_ram(
    kind: str, cli: Cli, boot: dict[str, Boot]
) -> None:
    """The guest says so, and can be used to make one."""
    cli.up("--vhost-user", "--disk", "blank.img,size=16M")

    with boot[kind](cli) as guest:
        said = guest.text
        guest.run("test -b /dev/vda")

    assert "/dev/vda holds no root file system" in said


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_goes_to_the_guest(kind: str, rooted: Cli, boot: dict[str, Boot]) -> None:
    """It ends what runs in the guest's shell; the guest goes on."""
    with boot[kind](rooted) as guest:
        guest.begin("echo begun''.; cat /dev/zero > /dev/null")
        guest.expect(re.escape("begun."))
        guest.interrupt()

        assert guest.run("echo alive") == "alive\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_guest_leaves_the_disk_to_the_next(
    kind: str, rooted: Cli, boot: dict[str, Boot]
) -> None:
    """While it runs the machine names it as the driver; hung up, nothing of it is left."""
    with boot[kind](rooted), connect(rooted.state.address) as machine:
        (during,) = machine.devices()
    with connect(rooted.state.address) as machine:
        eventually(lambda: machine.devices()[0].detail == "waits for a guest")

    assert during.state == "reserved"
    assert during.driver.startswith("vhost-user front end ")


def test_a_guest_that_takes_too_long_is_stopped(rooted: Cli) -> None:
    """--timeout ends it, however far it is, and says so; the disk is free again."""
    ran = rooted("guest", "uml", "--timeout", "1")

    assert ran.returncode == 1
    assert ran.stderr.endswith("virtmesh: the guest still ran after 1 s and was stopped\n")
    with connect(rooted.state.address) as machine:
        eventually(lambda: machine.devices()[0].detail == "waits for a guest")
