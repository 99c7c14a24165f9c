"""A tour of virtmesh, and a proof: a file system, keys and a console through a whole machine.

Usage: python -m tools.demo [--size 64M] [--keep] [--stay]

It makes an ext4 image with files in it, starts a machine as separate processes, copies the image
through client, kernel, registers and shared-memory queue to the disk's device, and checks what
arrived. Then it types a sentence on a German keyboard, moves and clicks, and compares what the
drivers received. At last it reads the boot messages on the serial console, asks the kernel's
monitor there, and sends bursts that overrun the port, or don't. It ends at the screen: it types to
the monitor there, and reads a screenshot, which it leaves, by the glyphs of the font. It needs
mke2fs and e2fsck (e2fsprogs). Exit status 0 only when every check passed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

import virtmesh_client
from tools.demo_screen import PROMPT, invite, look
from tools.tour import VIRTMESH, Broken, Tour, tool
from virtmesh_client.input.decode import Decoder
from virtmesh_client.serial.models import OLDEST

if TYPE_CHECKING:
    from virtmesh_client.serial import Serial

DISK = "vda"
MACHINE = """
name = "demo"

[[devices]]
name = "vda"
kind = "blk"
[devices.options]
image = "disk.img"
size = "{mebibytes}M"
serial = "demo"

[[devices]]
name = "keyboard"
kind = "input"
[devices.options]
personality = "keyboard"

[[devices]]
name = "mouse"
kind = "input"
[devices.options]
personality = "mouse"

[[devices]]
name = "serial"
kind = "uart"

[[devices]]
name = "gpu"
kind = "gpu"
[devices.options]
mode = "{width}x{height}"
"""
MODE = (800, 600)
DEVICES = 5
SENTENCE = 'Süße Grüße: "2 € für {[Äpfel]} ~ café \\o/"'
LAYOUT = "de"
MOVE = (120, -45)
CLICKS = 2
WATCH_SECONDS = 30.0
BURST = 64 << 10
"""Bytes of a burst on the serial line."""
SINK = re.compile(r"sink: received (\d+) sha256 ([0-9a-f]{64}) overruns (\d+)\r\n")
SMALLEST = 64
"""Smallest image, in MiB."""
SEED = 20260401
"""The files are the same in every run, except for the times in the file system."""


def make_files(folder: Path, mebibytes: int) -> None:
    """Fill a folder: text, small files, and random data that no layer can guess."""
    numbers = random.Random(SEED)  # noqa: S311 - content, not a secret
    (folder / "many").mkdir(parents=True)
    (folder / "README").write_text("This file travelled through a virtqueue.\n")
    for index in range(200):
        (folder / "many" / f"{index:03}.txt").write_text(f"file {index}\n" * (index + 1))
    (folder / "random.bin").write_bytes(numbers.randbytes(mebibytes * (1 << 20) // 2))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_image(tour: Tour, mebibytes: int) -> Path:
    """Make the ext4 image that travels."""
    tour.step(f"1. An ext4 file system of {mebibytes} MiB with files in it")
    make_files(tour.folder / "files", mebibytes)
    image = tour.folder / "source.img"
    tour.run(
        tool("mke2fs"), "-q", "-t", "ext4", "-d", "files", "-L", "virtmesh", image.name,
        f"{mebibytes}M",
    )  # fmt: skip
    return image


def copy(tour: Tour, image: Path, mebibytes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Start the machine and copy the image in and out; returns both reports."""
    tour.step("2. A machine: a process for each device, and one for the kernel")
    (tour.folder / "machine.toml").write_text(
        MACHINE.format(mebibytes=mebibytes, width=MODE[0], height=MODE[1])
    )
    tour.run(VIRTMESH, "up", "machine.toml", "--detach")
    tour.run(VIRTMESH, "devices")
    tour.run(VIRTMESH, "blk", "info", DISK)

    tour.step("3. Client -> kernel -> registers -> shared-memory queue -> device, and back")
    imported = tour.ask("blk", "import", DISK, image.name)
    tour.run(VIRTMESH, "blk", "flush", DISK)
    exported = tour.ask("blk", "export", DISK, "export.img")
    return imported, exported


def prove(tour: Tour, image: Path, imported: dict[str, Any], exported: dict[str, Any]) -> None:
    """Check what arrived."""
    tour.step("4. The proof")
    wanted = sha256(image)
    tour.check(f"source     {wanted}", passed=imported["sha256"] == wanted)
    for label, name in (("export", "export.img"), ("device", "disk.img")):
        found = sha256(tour.folder / name)
        tour.check(f"{label:10} {found}  {name}", passed=found == wanted)
    tour.check("the export's own report agrees", passed=exported["sha256"] == wanted)
    fsck = tour.run(tool("e2fsck"), "-fn", "disk.img", check=False)
    tour.check("e2fsck finds the device's own file clean", passed=fsck.returncode == 0)


def summarise(tour: Tour, imported: dict[str, Any], exported: dict[str, Any]) -> None:
    """Show what it took."""
    tour.step("5. What it took")
    # What it says is the table below.
    stats = json.loads(tour.run(VIRTMESH, "blk", "stats", DISK, "--json", show=False).stdout)
    device = stats["device"]
    table = Table("What", "Count", box=None, pad_edge=False, header_style="bold")
    table.columns[1].justify = "right"
    rows: list[tuple[str, str]] = [
        ("register reads", f"{device['mmio_reads']:,}"),
        ("register writes", f"{device['mmio_writes']:,}"),
        ("register messages", f"{device['mmio_messages']:,}"),
        ("notifications by eventfd", f"{device['notifications_eventfd']:,}"),
        ("notifications by MMIO", f"{device['notifications_mmio']:,}"),
        ("notifications by RPC", f"{device['notifications_rpc']:,}"),
        ("interrupts", f"{device['interrupts']:,}"),
        ("interrupts suppressed", f"{device['interrupts_suppressed']:,}"),
    ]
    rows += [
        (f"requests {row['type']}", f"{row['ok']:,} ({row['bytes']:,} bytes)")
        for row in stats["requests"]
        if row["ok"]
    ]
    rows += [
        (name, f"{report['bytes_per_second'] / (1 << 20):,.0f} MiB/s")
        for name, report in (("import", imported), ("export", exported))
    ]
    for row in rows:
        table.add_row(*row)
    tour.console.print(table)
    failed = {row["type"]: row["io_errors"] + row["unsupported"] for row in stats["requests"]}
    tour.check("no request failed, none was malformed", not any(failed.values()))
    served = {row["type"]: row["bytes"] for row in stats["requests"]}
    tour.check("every byte went through the queue", served.get("OUT", 0) >= imported["bytes"])


def press_keys(tour: Tour) -> None:
    """Type with Shift, AltGr and dead keys; check what the keyboard's driver received."""
    tour.step("6. A sentence on a German keyboard")
    with (
        virtmesh_client.connect() as machine,
        machine.input("keyboard").watch(seconds=WATCH_SECONDS) as watch,
    ):
        typed = tour.ask(
            "input", "type", SENTENCE, "--layout", LAYOUT, "--wait", "delivered", "-d", "keyboard"
        )
        # Each packet is a key and its SYN_REPORT.
        received = [one.event for _, one in zip(range(2 * typed["packets"]), watch, strict=False)]
    text = Decoder(LAYOUT).read(received)
    tour.check(f"the driver received {text!r}", passed=text == SENTENCE)
    stats = tour.ask("input", "stats", "-d", "keyboard")
    accepted, delivered = stats["packets_accepted"], stats["packets_delivered"]
    tour.check(
        f"{accepted} packets accepted, {delivered} delivered, none refused or lost",
        passed=accepted == delivered == typed["packets"]
        and not stats["packets_refused"] + stats["packets_lost"],
    )


def move_and_click(tour: Tour) -> None:
    """Move and click; check what the mouse's driver received."""
    tour.step("7. A mouse that moves and clicks")
    with (
        virtmesh_client.connect() as machine,
        machine.input("mouse").watch(seconds=WATCH_SECONDS) as watch,
    ):
        moved = tour.ask("input", "move", *map(str, MOVE), "--duration", "0.2", "-d", "mouse")
        tour.ask("input", "click", "--count", str(CLICKS), "--wait", "delivered", "-d", "mouse")
        seen = []
        clicks = 0
        for received in watch:
            seen.append(received.event)
            clicks += str(received.event) == "BTN_LEFT 0"
            if clicks == CLICKS:
                break
    distance = tuple(
        sum(one.value for one in seen if one.code_name == name) for name in ("REL_X", "REL_Y")
    )
    tour.check(
        f"the driver received a move by {distance} in {moved['packets']} packets",
        passed=distance == MOVE,
    )
    presses = sum(str(one) == "BTN_LEFT 1" for one in seen)
    tour.check(f"and {presses} presses and {clicks} releases", passed=presses == clicks == CLICKS)


def sit_down(tour: Tour) -> None:
    """Read the boot messages, ask the monitor, and send bursts, on the serial console."""
    tour.step("8. The serial console: boot messages, and a monitor to talk to")
    with (
        virtmesh_client.connect() as machine,
        machine.serial("serial", since=OLDEST, timeout=WATCH_SECONDS) as console,
    ):
        boot = console.expect(PROMPT).text
        tour.show(boot)
        told = ", machine demo" in boot and "serial: driver NS16550a" in boot
        tour.check("the boot messages are those of this machine", passed=told)
        ready = ask_monitor(tour, console, "lsdev").count(" ready ")
        tour.check(f"lsdev lists {ready} devices that are ready", passed=ready == DEVICES)
        block = ask_monitor(tour, console, "hexdump blk:vda 0x438 2")
        # s_magic of the superblock, which is at byte 1024 of an ext4 file system.
        tour.check("hexdump finds the magic number of ext4", passed="  53 ef " in block)

        tour.step(f"9. The overrun: {BURST >> 10} KiB at once, from a sender that does not look")
        for queue in ("off", "on"):
            ask_monitor(tour, console, f"queue {queue}")
            burst(tour, console, queue)


def ask_monitor(tour: Tour, console: Serial, line: str) -> str:
    """Enter a line at the monitor; show and return what it says."""
    console.send_line(line)
    console.expect(f"{line}\r\n")
    answer = console.expect(PROMPT).text
    tour.show(f"{PROMPT}{line}\r\n{answer}")
    return answer


def burst(tour: Tour, console: Serial, queue: str) -> None:
    """Send a burst into the monitor's sink; check what arrived, and what the device counted."""
    data = random.Random(SEED).randbytes(BURST)  # noqa: S311 - content, not a secret
    before = console.stats().overruns
    console.send_line(f"sink {BURST}")
    console.expect(f"waiting for {BURST} bytes\r\n")
    console.write(data, flow="none")
    match = console.expect(SINK)
    tour.show(match.after.decode())
    received, digest = int(str(match.groups[0])), match.groups[1]
    lost, overruns = BURST - received, console.stats().overruns - before
    tour.check(
        f"queue {queue}: {lost:,} bytes lost, the device counts {overruns:,} overruns",
        passed=lost == overruns and (lost > 0 or queue == "on"),
    )
    if queue == "on":
        same = digest == hashlib.sha256(data).hexdigest()
        tour.check("and nothing is lost: the SHA-256 is equal", passed=same and not lost)
    console.expect(PROMPT)


def travel(tour: Tour, mebibytes: int, *, stay: bool) -> None:
    """Make the whole tour, and stop the machine whatever happens."""
    tool("e2fsck")
    image = make_image(tour, mebibytes)
    passed = False
    try:
        imported, exported = copy(tour, image, mebibytes)
        prove(tour, image, imported, exported)
        summarise(tour, imported, exported)
        press_keys(tour)
        move_and_click(tour)
        sit_down(tour)
        look(tour, DEVICES, MODE, MOVE)
        passed = True
    finally:
        tour.step("11. The end")
        if stay and passed:
            invite(tour)
        else:
            tour.run(VIRTMESH, "down", check=False)


def main() -> int:
    """Make the tour; returns 0 only when every check passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=SMALLEST, help="image size in MiB")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the images")
    parser.add_argument("--stay", action="store_true", help="leave the machine up, with its folder")
    arguments = parser.parse_args()
    if arguments.size < SMALLEST:
        parser.error(f"--size must be at least {SMALLEST}")
    folder = Path(tempfile.mkdtemp(prefix="virtmesh-demo-"))
    # The tour has a machine of its own, whatever else runs here.
    os.environ["VIRTMESH_RUN_DIR"] = str(folder / "run")
    os.environ.pop("VIRTMESH_ADDRESS", None)
    tour = Tour(folder)
    try:
        travel(tour, arguments.size, stay=arguments.stay)
    except Broken as error:
        tour.check(str(error), passed=False)
    except KeyboardInterrupt:
        tour.check("interrupted", passed=False)
    finally:
        if arguments.keep or arguments.stay:
            tour.console.print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return tour.finish()


if __name__ == "__main__":
    raise SystemExit(main())
