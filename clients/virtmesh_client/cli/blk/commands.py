"""`virtmesh blk`: commands for a disk."""

# ruff: noqa: FBT001, PLR0913, PLR0917 - click passes each option as a parameter

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtmesh_client.cli.blk.copy import export, import_, read, write
from virtmesh_client.cli.blk.powerloss import powerloss_check
from virtmesh_client.cli.blk.retry import retry_option
from virtmesh_client.cli.settings import SIZE, Settings, common, device_argument
from virtmesh_client.cli.show import show_facts, show_json, show_table
from virtmesh_client.sizes import spell_size
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from virtmesh_client.models import DiskInfo


@click.group()
@common
def blk() -> None:
    """Use a disk: read, write, copy, resize, watch.

    Offsets and lengths are in bytes: 4096, 0x1000, 64M, 1GiB.
    """


for command in (read, write, import_, export, powerloss_check):
    blk.add_command(command)


def done(settings: Settings, message: str, **facts: object) -> None:
    """Print that a command has succeeded."""
    if settings.json:
        show_json(facts)
    elif not settings.quiet:
        say(message)


def spell_engine(disk: DiskInfo) -> str:
    """Return what executes the requests of a disk, and how."""
    if disk.engine == "null":
        return "null: it moves no bytes"
    if not disk.engine:
        return "-"  # A service of before does not say.
    way = "past" if disk.bypasses_cache else "through"
    reason = f" ({disk.engine_reason})" if disk.engine_reason else ""
    return f"{disk.engine}, {way} the page cache{reason}"


@blk.command()
@device_argument
@retry_option
@common
@click.pass_obj
def info(settings: Settings, device: str, retry_for: float) -> None:
    """Describe a disk and its image."""
    with settings.connect() as machine:
        disk = machine.disk(device).info(retry_for=retry_for)
    if settings.json:
        show_json(disk)
        return
    allocated = spell_size(disk.image.allocated_bytes)
    show_facts(
        [
            ("device", disk.name),
            ("capacity", f"{disk.capacity_bytes} ({spell_size(disk.capacity_bytes)})"),
            ("block size", disk.block_size_bytes),
            ("read-only", "yes" if disk.read_only else "no"),
            ("serial", disk.serial or "-"),
            ("cache", "write-back" if disk.write_back else "write-through"),
            ("queues", disk.queues),
            ("polling", f"at most {disk.poll_us} us" if disk.poll_us else "never"),
            ("engine", spell_engine(disk)),
            ("largest request", spell_size(disk.request_size_max_bytes)),
            ("image", f"{disk.image.path} ({allocated} allocated)"),
            *([("image trouble", disk.image.trouble)] if disk.image.trouble else []),
            ("on error", disk.image.on_error),
            *([("held requests", held)] if (held := disk.image.held_requests) else []),
            *([("write log", disk.image.write_log)] if disk.image.write_log else []),
            ("config generation", disk.image.config_generation),
            ("features", "\n".join(disk.features) or "-"),
        ]
    )


@blk.command()
@device_argument
@retry_option
@common
@click.pass_obj
def flush(settings: Settings, device: str, retry_for: float) -> None:
    """Make every completed write durable."""
    with settings.connect() as machine:
        machine.disk(device).flush(retry_for=retry_for)
    done(settings, f"{device}: all completed writes are durable", device=device)


@blk.command()
@device_argument
@click.option("--offset", type=SIZE, required=True, help="First byte; a multiple of the block.")
@click.option("--length", type=SIZE, required=True, help="Number of bytes; whole blocks.")
@retry_option
@common
@click.pass_obj
def discard(settings: Settings, device: str, offset: int, length: int, retry_for: float) -> None:
    """Discard a range of a disk: its data is not needed any more."""
    with settings.connect() as machine:
        machine.disk(device).discard(offset, length, retry_for=retry_for)
    done(
        settings,
        f"{device}: {spell_size(length)} discarded",
        device=device,
        offset_bytes=offset,
        length_bytes=length,
    )


@blk.command()
@device_argument
@click.option("--offset", type=SIZE, required=True, help="First byte; a multiple of the block.")
@click.option("--length", type=SIZE, required=True, help="Number of bytes; whole blocks.")
@click.option("--unmap", is_flag=True, help="The device may free the storage of the range.")
@retry_option
@common
@click.pass_obj
def zero(
    settings: Settings, device: str, offset: int, length: int, unmap: bool, retry_for: float
) -> None:
    """Fill a range with zeroes."""
    with settings.connect() as machine:
        machine.disk(device).write_zeroes(offset, length, unmap=unmap, retry_for=retry_for)
    done(
        settings,
        f"{device}: {spell_size(length)} filled with zeroes",
        device=device,
        offset_bytes=offset,
        length_bytes=length,
    )


@blk.command()
@device_argument
@click.argument("size", type=SIZE)
@click.option("--shrink", is_flag=True, help="Allow a smaller size, which loses data at the end.")
@common
@click.pass_obj
def resize(settings: Settings, device: str, size: int, shrink: bool) -> None:
    """Change the capacity of a disk while it is in use."""
    with settings.connect() as machine:
        before = machine.disk(device).resize(size, allow_shrink=shrink)
    done(
        settings,
        f"{device}: capacity changed from {spell_size(before)} to {spell_size(size)}",
        device=device,
        previous_capacity_bytes=before,
        capacity_bytes=size,
    )


@blk.command("read-only")
@device_argument
@click.argument("state", type=click.Choice(["on", "off"]), default="on")
@common
@click.pass_obj
def read_only(settings: Settings, device: str, state: str) -> None:
    """Make a disk refuse writes, or accept them again with `off`."""
    refuse = state == "on"
    with settings.connect() as machine:
        machine.disk(device).set_read_only(refuse)
    verb = "refuses" if refuse else "accepts"
    done(settings, f"{device} {verb} writes", device=device, read_only=refuse)


@blk.command()
@device_argument
@click.option("--give-up", is_flag=True, help="Fail the requests that fail again.")
@common
@click.pass_obj
def resume(settings: Settings, device: str, give_up: bool) -> None:
    """Try requests again now that a disk holds, since its storage failed them."""
    with settings.connect() as machine:
        held = machine.disk(device).resume(give_up=give_up)
    requests = "1 request was" if held == 1 else f"{held} requests were"
    done(settings, f"{device}: {requests} held", device=device, held_requests=held)


@blk.command()
@device_argument
@click.argument("text")
@common
@click.pass_obj
def mark(settings: Settings, device: str, text: str) -> None:
    """Put a mark into the log of a disk's writes (write-log=FILE)."""
    with settings.connect() as machine:
        entries = machine.disk(device).mark(text)
    done(settings, f"{device}: marked {text}", device=device, mark=text, entries=entries)


@blk.command()
@device_argument
@common
@click.pass_obj
def stats(settings: Settings, device: str) -> None:
    """Show the counters of a disk and of its device service."""
    with settings.connect() as machine:
        counters = machine.disk(device).stats()
    if settings.json:
        show_json(counters)
        return
    show_table(
        ("REQUEST", "OK", "IO ERRORS", "UNSUPPORTED", "BYTES", "MEAN TIME"),
        [
            (
                row.type,
                row.ok,
                row.io_errors,
                row.unsupported,
                row.bytes,
                f"{row.busy_us / max(1, row.ok + row.io_errors + row.unsupported):.1f} us",
            )
            for row in counters.requests
        ],
    )
    say()
    both = counters.device
    show_facts(
        [
            ("in flight", counters.in_flight),
            ("malformed", counters.malformed),
            ("register reads", both.mmio_reads),
            ("register writes", both.mmio_writes),
            ("register messages", both.mmio_messages),
            ("register errors", both.mmio_errors),
            ("notifications by eventfd", both.notifications_eventfd),
            ("notifications by MMIO", both.notifications_mmio),
            ("notifications by RPC", both.notifications_rpc),
            ("interrupts", both.interrupts),
            ("interrupts suppressed", both.interrupts_suppressed),
            ("resets", both.resets),
            ("attaches", both.attaches),
        ]
    )
