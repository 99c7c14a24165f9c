"""Real kernels on the machine's serial port: log-in, reset, power button, a break."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import virtmesh_client
from tests.support.cli import Cli, eventually
from tests.support.guest import BOOT_SECONDS

SHELL = "/ # "


@pytest.fixture
def machine(cli: Cli) -> Iterator[virtmesh_client.Machine]:
    """Start a machine with a disk for guests and a serial port."""
    cli.up("--vhost-user", "--serial", "--disk", "disk.img,size=16M")
    with virtmesh_client.connect(cli.state.address) as machine:
        yield machine


def start(cli: Cli, kind: str, options: tuple[str, ...]) -> None:
    """Start a guest in the background."""
    with cli.spawn("guest", kind, *options, "--detach", "--login") as process:
        _, said = process.communicate(timeout=BOOT_SECONDS)
        assert process.returncode == 0, said.decode()


def log_in(serial: virtmesh_client.Serial) -> None:
    """Log in, once there is a prompt."""
    serial.expect("login: ", timeout=BOOT_SECONDS)
    serial.send_line("root")
    serial.expect(SHELL)


@pytest.mark.parametrize("kind", ["uml", "qemu"])
def test_a_guest_in_the_background_has_buttons(
    kind: str, cli: Cli, machine: virtmesh_client.Machine, qemu_options: tuple[str, ...]
) -> None:
    """After a reset its RAM is new; the power button unmounts and ends it without a kill."""
    with machine.serial() as serial:
        start(cli, kind, qemu_options if kind == "qemu" else ())
        log_in(serial)
        serial.send_line("touch /before; ls /")
        before = serial.expect(SHELL).text
        pid = machine.guest().info().pid
        os.kill(pid, 0)
        info = machine.guest().reset()
        log_in(serial)
        eventually(lambda: machine.guest().info().state == "running")
        serial.send_line("ls /")
        after = serial.expect(SHELL).text
        killed = machine.guest().stop(timeout=60)
        end = serial.expect("the monitor has the port again").text

    assert "before" in before
    assert "before" not in after
    assert (info.resets, killed) == (1, False)
    assert f"the guest {kind}" in end
    assert machine.guests() == []


def test_what_a_reset_kills_says_nothing_more(cli: Cli, machine: virtmesh_client.Machine) -> None:
    """What user-mode Linux traces dies with it: nothing of the old guest comes after a reset."""
    with machine.serial() as serial:
        start(cli, "uml", ())
        log_in(serial)
        for _ in range(5):
            machine.guest().reset()
            assert "Linux version" in serial.expect("login: ", timeout=BOOT_SECONDS).text
            serial.send_line("root")
            serial.expect(SHELL)


def test_a_break_is_sysrq_under_qemu(
    cli: Cli, machine: virtmesh_client.Machine, qemu_options: tuple[str, ...]
) -> None:
    """And Ctrl-A is a byte like any other."""
    with machine.serial() as serial:
        start(cli, "qemu", qemu_options)
        log_in(serial)
        serial.send_break()
        serial.write(b"h")
        serial.expect("sysrq: HELP")
        serial.send_line()
        serial.expect(SHELL)
        serial.send_line("stty raw -echo; head -c 3 | od -A n -t o1; stty sane")
        serial.expect("\r\n")
        serial.write(b"\x01x\x01")
        octal = serial.expect(SHELL).text
        machine.guest().stop(force=True)

    assert "001 170 001" in octal
