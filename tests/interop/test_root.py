"""Guests whose root file system is on a virtmesh disk, and how they end."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli, eventually
from tests.support.guest import BOOT_SECONDS, Boot
from virtmesh_client import connect

KINDS = ("uml", "qemu")


def ended_pipe() -> int:
    """Return a pipe whose writer is gone."""
    source, target = os.pipe()
    os.close(target)
    return source


STANDARD_INPUTS: dict[str, Callable[[], int]] = {
    "null": lambda: os.open(os.devnull, os.O_RDONLY),
    "ended pipe": ended_pipe,
}


@pytest.fixture
def options(qemu_options: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the options of each kind of guest."""
    return {"uml": (), "qemu": qemu_options}


def guest(cli: Cli, *arguments: str, stdin: int) -> subprocess.CompletedProcess[bytes]:
    """Run `virtmesh guest` without a terminal."""
    with cli.spawn("guest", *arguments, stdin=stdin) as process:
        out, err = process.communicate(timeout=BOOT_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


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

    assert "/dev/vda has no root file system" in said


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_goes_to_the_guest(kind: str, rooted: Cli, boot: dict[str, Boot]) -> None:
    """It ends what runs in the guest's shell; the guest goes on."""
    with boot[kind](rooted) as guest:
        # Said by the job itself: it is in the foreground by then, not the shell that starts it.
        guest.begin("(echo begun''.; exec cat /dev/zero > /dev/null)")
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
    assert ran.stderr.endswith(
        "virtmesh: the guest still ran after 1 s and was stopped: allow more with --timeout\n"
    )
    with connect(rooted.state.address) as machine:
        eventually(lambda: machine.devices()[0].detail == "waits for a guest")


@pytest.mark.parametrize("source", STANDARD_INPUTS)
def test_a_guest_boots_and_ends_whatever_standard_input_is(source: str, rooted: Cli) -> None:
    """User-mode Linux would wait for its console for ever, were it ours."""
    stdin = STANDARD_INPUTS[source]()

    ran = guest(rooted, "uml", stdin=stdin)

    os.close(stdin)
    assert (ran.stderr, ran.returncode) == (b"", 0)


def test_a_guest_boots_and_ends_when_standard_input_is_closed(rooted: Cli) -> None:
    """As under cron, or after <&- in a shell."""
    command = f"exec {sys.executable} -m virtmesh_client guest uml <&-"
    environment = {**os.environ, "VIRTMESH_RUN_DIR": str(rooted.run_dir)}

    ran = subprocess.run(
        ["sh", "-c", command],
        env=environment,
        capture_output=True,
        timeout=BOOT_SECONDS,
        check=False,
    )

    assert (ran.stderr, ran.returncode) == (b"", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_has_its_output_its_errors_and_its_status(
    kind: str, rooted: Cli, options: dict[str, tuple[str, ...]]
) -> None:
    """Nothing else is on either of them; the root file system is the disk, unmounted afterwards."""
    command = "printf '\\000\\r\\n\\377'; echo bad >&2; echo kept > /kept; exit 7"

    ran = guest(rooted, kind, *options[kind], "--exec", command, stdin=subprocess.DEVNULL)
    kept = guest(rooted, kind, *options[kind], "--exec", "cat /kept", stdin=subprocess.DEVNULL)

    assert (ran.stdout, ran.stderr, ran.returncode) == (b"\x00\r\n\xff", b"bad\n", 7)
    assert (kept.stdout, kept.stderr, kept.returncode) == (b"kept\n", b"", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_standard_input_is_a_script(
    kind: str, rooted: Cli, options: dict[str, tuple[str, ...]]
) -> None:
    """Its output and its status are the guest's, also when that is more than a line holds."""
    script = rooted.folder / "script"
    script.write_text("last=200000\nseq 1 $last |\n  cat\nexit 3\n")

    with script.open("rb") as file:
        ran = guest(rooted, kind, *options[kind], stdin=file.fileno())

    assert ran.stdout.split() == [b"%d" % number for number in range(1, 200001)]
    assert ran.returncode == 3


def test_a_script_that_stops_the_guest_has_no_status(rooted: Cli) -> None:
    """What it printed is there, the error says what it should do."""
    ran = rooted("guest", "uml", "--exec", "echo done; poweroff -f")

    assert ran.stdout == "done\n"
    assert ran.returncode == 1
    assert "do not power off in the script" in ran.stderr


def test_a_guest_whose_runner_is_killed_leaves_the_disk_to_the_next(rooted: Cli) -> None:
    """User-mode Linux ends, and so do its helpers and its reaper."""
    disk = os.fsencode(f"virtio_uml.device={rooted.run_dir}")
    with (
        connect(rooted.state.address) as machine,
        rooted.spawn("guest", "uml", "--exec", "echo up; sleep 600") as runner,
    ):
        assert runner.stdout is not None
        runner.stdout.readline()
        runner.kill()
        eventually(lambda: machine.devices()[0].detail == "waits for a guest")
        eventually(lambda: not [line for line in command_lines() if disk in line])


def command_lines() -> Iterator[bytes]:
    """Return the command lines of all processes."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            yield (process / "cmdline").read_bytes()


def test_a_guest_follows_the_size_of_the_window(rooted: Cli, boot: dict[str, Boot]) -> None:
    """User-mode Linux has it from its console, at once."""
    with boot["uml"](rooted) as guest:
        before = guest.run("stty size")
        guest.console.setwinsize(44, 999)
        after = guest.run("stty size")

    assert before == "50 1000\n"
    assert after == "44 999\n"


def test_a_root_on_a_disk_that_is_not_there_is_refused(rooted: Cli) -> None:
    """Before anything boots."""
    ran = rooted("guest", "uml", "--root", "vdb")

    assert ran.returncode == 1
    assert "the guest has no disk vdb" in ran.stderr
