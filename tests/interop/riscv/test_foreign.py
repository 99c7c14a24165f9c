"""Drivers of other people's crates on virtmesh's processor, with quirks and without."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import virtmesh_client
from tests.support.cli import Cli
from tests.support.guest import Guest
from tests.support.riscv.boot import boot_command, environment
from tests.support.riscv.console import running

CRATE = Path(__file__).parent / "foreign"
TRIPLE = "riscv64gc-unknown-linux-gnu"
BUILD_SECONDS = 500
HELLO = b"hello, old world"
SECTORS = 64
PRESSED, RELEASED = (rf"event: 1 30 {value}\s+event: 0 0 0\s" for value in (1, 0))
FIRST_INTERRUPT_ONLY = {"virtio-0-7"}
"""It accepts VIRTIO_F_EVENT_IDX and never moves `used_event`: so it asks for one interrupt."""


@pytest.fixture(scope="module")
def kernels(parts: Path) -> Path:
    """Build the kernels, with the compiler that tools/guests.sh has unpacked."""
    target = parts / "foreign"
    subprocess.run(
        ["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", target],
        cwd=CRATE,
        env={**os.environ, "RUSTC": str(parts / "rust/rustc")},
        check=True,
        timeout=BUILD_SECONDS,
    )
    return target / TRIPLE / "release"


@contextmanager
def booted(cli: Cli, kernel: Path, *options: str) -> Iterator[Guest]:
    """Boot a kernel with a disk and a keyboard."""
    (cli.folder / "disk.img").write_bytes(HELLO.ljust(SECTORS * 512, b"\0"))
    command = boot_command(kernel, "--disk=disk.img", "--input=keyboard", *options)
    with running(command, cli.folder, environment(cli)) as guest:
        yield guest


def rules_of(cli: Cli, *devices: str) -> list[set[str]]:
    """Return the rules that the kernel broke with each device."""
    with virtmesh_client.connect(cli.state.address) as machine:
        return [{one.rule for one in machine.report(name).violations} for name in devices]


@pytest.mark.parametrize(
    ("kernel", "options", "rules"),
    [
        ("virtio-0-12", (), {"features-ok-read"}),
        ("virtio-0-11", ("lenient",), {"features-ok-read", "version-1"}),
        ("virtio-0-7", ("lenient",), {"features-ok-read", "version-1"}),
        (
            "virtio-0-7",
            ("legacy",),
            {"features-ok-read", "legacy-register", "version-1"},
        ),
    ],
)
def test_a_foreign_driver_uses_the_disk_and_gets_every_key(
    cli: Cli, kernels: Path, kernel: str, options: tuple[str, ...], rules: set[str]
) -> None:
    """It reads what is there, and writes all sectors; key events arrive by interrupt, in order."""
    quirks = [f"--quirk={name}={one}" for one in options for name in ("vda", "keyboard")]

    with booted(cli, kernels / kernel, "--serial-8n1", *quirks) as guest:
        guest.expect(HELLO.decode())
        guest.expect(r"disk: 0 wrong, flush Ok\(\(\)\)")
        guest.expect("input: ready")
        with virtmesh_client.connect(cli.state.address) as machine:
            keyboard = machine.input("keyboard")
            keyboard.key("a")
            guest.expect(PRESSED)
            if kernel not in FIRST_INTERRUPT_ONLY:
                guest.expect(RELEASED)
            found = rules_of(cli, "vda", "keyboard")
            if kernel not in FIRST_INTERRUPT_ONLY:
                keyboard.key("esc")
                guest.expect(r"event: 1 1 0\s")
                guest.expect(r"\bend\s")

    image = (cli.folder / "disk.img").read_bytes()
    # The driver of version 1 ends with the disk by a QueueSize of 0, before it stops the queue.
    ending = {"queue-in-use"} if "legacy" in options else set()
    assert found == [rules | ending, rules]
    assert image[512:] == b"".join(bytes([number]) * 512 for number in range(1, SECTORS))


@pytest.mark.parametrize("kernel", ["virtio-0-7", "virtio-0-11"])
def test_without_a_quirk_an_old_driver_waits_for_ever_and_the_report_says_why(
    cli: Cli, kernels: Path, kernel: str
) -> None:
    """It never accepts VERSION_1, and does not look whether FEATURES_OK stays."""
    with booted(cli, kernels / kernel, "--serial-8n1") as guest:
        guest.expect(f"disk: {SECTORS} sectors")
        [found] = rules_of(cli, "vda")

    assert found >= {"version-1", "status-order"}
