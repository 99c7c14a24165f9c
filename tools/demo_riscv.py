"""Linux on six services: Debian's own kernel drives a machine, register by register.

Usage: python -m tools.demo_riscv GUESTS [--keep]

GUESTS is what `tools/guests.sh GUESTS riscv64` filled. It boots Debian's riscv64 kernel with
OpenSBI on a processor, a disk, a serial port, a keyboard, a mouse and a tablet, each a process of
its own; shows the dialogue of the kernel's first disk read in words; types at the guest's shell;
kills the disk's process under the running kernel; and powers off. It needs mke2fs and e2fsck
(e2fsprogs). Exit status 0 only when every check passed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import virtmesh_client
from tools.riscv.dialogue import Line, first_read
from tools.tour import VIRTMESH, Broken, Tour, tool
from virtmesh_client.local import rundir
from virtmesh_client.serial.models import OLDEST
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from virtmesh_client.serial import Serial

DISK = "vda"
PROMPT = "guest# "
HELLO = "This file was read by Debian's own driver.\n"
BOOT_SECONDS = 300.0
"""Limit for the boot; a busy host needs a minute."""
WIDTH = 58
"""Columns of what happens, before what it means."""
INPUTS = ("keyboard", "mouse", "tablet")


def boot(tour: Tour, guests: Path) -> None:
    """Start the machine, which boots."""
    tour.step("1. Debian's kernel, firmware and a disk with one file")
    (tour.folder / "files").mkdir()
    (tour.folder / "files/hello.txt").write_text(HELLO)
    tour.run(tool("mke2fs"), "-q", "-t", "ext4", "-d", "files", "disk.img", "32M")
    for name in ("Image", "fw_jump.bin", "initramfs.cpio"):
        (tour.folder / name).symlink_to(guests / name)

    tour.step("2. A machine: a process for the processor, and one for each device")
    inputs = [word for name in INPUTS for word in ("--input", name)]
    tour.run(
        *(VIRTMESH, "boot", "Image", "--firmware", "fw_jump.bin", "--initrd", "initramfs.cpio"),
        *("--append", "console=ttyS0", "--memory", "256M", "--disk", "disk.img", *inputs),
        "--detach",
    )
    state = rundir.load(Path(os.environ["VIRTMESH_RUN_DIR"]))
    names = [one.name for one in state.processes if one.alive] if state else []
    tour.check(f"{len(names)} services run: {', '.join(names)}", passed=len(names) == 6)


def watch_boot(tour: Tour, console: Serial) -> None:
    """Show what the kernel says of its devices, up to its shell."""
    tour.step("3. The kernel's own boot messages, through the serial port's service")
    began = time.monotonic()
    text = console.expect(PROMPT, timeout=BOOT_SECONDS).text
    wanted = ("OpenSBI v", "Linux version", "ttyS0 at", "virtio_blk", "input:", "guest:", "EXT4")
    lines = [line for line in text.split("\r\n") if any(word in line for word in wanted)]
    tour.show("\r\n".join(lines))
    tour.check(
        f"Linux is at its shell after {time.monotonic() - began:.0f} s",
        passed="guest: /dev/vda is mounted on /mnt" in text,
    )


def show_dialogue(tour: Tour) -> None:
    """Show the first read of the disk."""
    tour.step("4. The first disk read, as kernel and disk said it to each other")
    said = tour.run(VIRTMESH, "trace", "-d", DISK, "--json", show=False).stdout
    lines = first_read(said.splitlines())
    for line in lines:
        tour.console.print(f"  {line.what:{WIDTH}} [dim]{line.meaning}[/]", markup=True)
    check_dialogue(tour, lines)


def check_dialogue(tour: Tour, lines: list[Line]) -> None:
    """Check that the dialogue is whole: asked, answered, told, acknowledged."""
    kinds = [line.kind for line in lines]
    wanted = ("notify", "pop", "request_start", "request_end", "push", "interrupt")
    missing = [kind for kind in wanted if kind not in kinds]
    tour.check(f"it is whole{f', but for {missing}' if missing else ''}", passed=not missing)


def ask(tour: Tour, console: Serial, line: str, seconds: float = 60.0) -> str:
    """Enter a line at the guest's shell; show and return what it says."""
    console.send_line(line)
    console.expect("\r\n", timeout=seconds)
    answer = console.expect(PROMPT, timeout=seconds).text
    tour.show(f"{PROMPT}{line}\r\n{answer}")
    return answer


def use(tour: Tour, console: Serial) -> None:
    """Type at the shell; kill the disk under the kernel."""
    tour.step("5. A command at the guest's shell")
    tour.check(
        "cat shows the file", passed=HELLO.strip() in ask(tour, console, "cat /mnt/hello.txt")
    )

    tour.step("6. kill -9 of the disk's process, under the running kernel")
    folder = Path(os.environ["VIRTMESH_RUN_DIR"])
    state = rundir.load(folder)
    pid = next(one.pid for one in state.processes if one.name == DISK) if state else 0
    tour.console.print(f"[green]$[/] kill -9 {pid}")
    os.kill(pid, signal.SIGKILL)
    ask(tour, console, "date >/mnt/date; sync")
    answer = ask(tour, console, "echo 3 >/proc/sys/vm/drop_caches; cat /mnt/hello.txt")
    tour.check("the kernel reads and writes as if nothing was", passed=HELLO.strip() in answer)
    errors = ask(tour, console, "dmesg | grep -c 'I/O error'")
    tour.check("and has seen no error", passed=errors.strip().splitlines()[:1] == ["0"])


def power_off(tour: Tour, console: Serial) -> None:
    """Power off from inside, and look at the disk."""
    tour.step("7. Power off, from inside")
    console.send_line("exit")
    console.expect("Power down", timeout=60.0)
    tour.run(VIRTMESH, "down", check=False)
    fsck = tour.run(tool("e2fsck"), "-fn", "disk.img", check=False)
    tour.check("e2fsck finds the disk clean", passed=fsck.returncode == 0)


def travel(tour: Tour, guests: Path) -> None:
    """Make the whole tour, and stop the machine whatever happens."""
    try:
        boot(tour, guests)
        with (
            virtmesh_client.connect() as machine,
            machine.serial("serial", since=OLDEST, timeout=BOOT_SECONDS) as console,
        ):
            watch_boot(tour, console)
            show_dialogue(tour)
            use(tour, console)
            power_off(tour, console)
    finally:
        if rundir.load(Path(os.environ["VIRTMESH_RUN_DIR"])):
            tour.run(VIRTMESH, "down", check=False)


def main() -> int:
    """Make the tour; returns 0 only when every check passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("guests", type=Path)
    parser.add_argument("--keep", action="store_true", help="keep the folder with the disk")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="virtmesh-demo-"))
    # The tour has a machine of its own, whatever else runs here.
    os.environ["VIRTMESH_RUN_DIR"] = str(folder / "run")
    os.environ.pop("VIRTMESH_ADDRESS", None)
    tour = Tour(folder)
    try:
        travel(tour, arguments.guests.absolute() / "riscv64")
    except (Broken, VirtmeshError) as error:
        tour.check(str(error), passed=False)
    except KeyboardInterrupt:
        tour.check("interrupted", passed=False)
    finally:
        if arguments.keep:
            tour.console.print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return tour.finish()


if __name__ == "__main__":
    sys.exit(main())
