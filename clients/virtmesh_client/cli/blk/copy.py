"""`virtmesh blk read|write|import|export`: copy bytes between files, pipes and disks."""

# ruff: noqa: FBT001, PLR0913, PLR0917 - click passes each option as a parameter

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import click

from virtmesh_client.cli.blk.retry import retry_option
from virtmesh_client.cli.settings import SIZE, Settings, common, device_argument
from virtmesh_client.cli.show import hexdump, show_json
from virtmesh_client.cli.sources import STANDARD, open_source, progress_bar
from virtmesh_client.sizes import spell_size
from virtmesh_client.streams import remaining
from virtmesh_common.blk.containers import FOOTER, HEAD, find_container
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.models import CopyResult

JSON_READ_LIMIT = 16 << 20
"""Limit of a read with --json, which keeps all data in memory."""
no_digest_option = click.option(
    "--no-digest", is_flag=True, help="Do not compute the SHA-256 of the data: it takes longest."
)
"""Option of copies."""


def open_output() -> BinaryIO:
    """Return standard output, unbuffered, for bytes."""
    return cast("BinaryIO", open(sys.stdout.fileno(), "wb", buffering=0, closefd=False))


def report(
    settings: Settings, verb: str, device: str, copy: CopyResult, *, error: bool = False
) -> None:
    """Print the result of a copy; with `error` on standard error, as standard output has data."""
    facts = {
        "device": device,
        "bytes": copy.bytes,
        "seconds": round(copy.seconds, 6),
        "bytes_per_second": round(copy.bytes_per_second),
        "sha256": copy.sha256 or None,
        "verified": copy.verified,
    }
    if settings.json and not error:
        show_json(facts)
    elif not settings.quiet and not (settings.json and error):
        checked = ", read back and compared" if copy.verified else ""
        digest = f", sha256 {copy.sha256}" if copy.sha256 else ""
        say(
            f"{device}: {verb} {copy.bytes} bytes in {copy.seconds:.2f} s"
            f" ({spell_size(copy.bytes_per_second)}/s){digest}{checked}",
            err=error,
        )


@click.command("import")
@device_argument
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--offset", type=SIZE, default=0, help="First byte on the disk.")
@click.option("--verify", is_flag=True, help="Read the data back and compare it.")
@click.option("--no-flush", is_flag=True, help="Do not flush at the end.")
@no_digest_option
@click.option(
    "--format",
    "as_format",
    type=click.Choice(["raw"]),
    help="Copy FILE as it is, even if it is a container such as qcow2.",
)
@retry_option
@common
@click.pass_obj
def import_(
    settings: Settings,
    device: str,
    file: str,
    offset: int,
    verify: bool,
    no_flush: bool,
    no_digest: bool,
    as_format: str | None,
    retry_for: float,
) -> None:
    """Copy FILE to a disk. If FILE is -, copy standard input."""
    with open_source(file) as source:
        if as_format is None and file != STANDARD:
            refuse_container(Path(file), source)
        _import(
            settings,
            device,
            source,
            offset,
            verify=verify,
            flush=not no_flush,
            digest=not no_digest,
            retry_for=retry_for,
        )


def refuse_container(path: Path, source: BinaryIO) -> None:
    """Refuse a file that is a container: its bytes are not those of the disk that is in it.

    Pipes and devices are passed over. Errors: NotRaw, with the command that makes a raw file of it.
    """
    if not path.is_file():
        return
    head = source.read(HEAD)
    size = source.seek(0, os.SEEK_END)
    source.seek(max(size - FOOTER, 0))
    found = find_container(head, source.read(FOOTER))
    source.seek(0)
    if found is not None:
        from virtmesh_common.blk.errors import NotRaw  # noqa: PLC0415 - it imports gRPC

        raise NotRaw(
            f"{path}: a {found.name} image, and its bytes are not those of the disk in it: make a"
            f" raw one with `{found.spell_command(path)}` and import that, or say --format raw",
            format=found.name,
        )


def _import(
    settings: Settings,
    device: str,
    source: BinaryIO,
    offset: int,
    *,
    verify: bool,
    flush: bool,
    digest: bool,
    retry_for: float,
) -> None:
    """Copy an open file to a disk."""
    with (
        settings.connect() as machine,
        progress_bar(settings, f"import {device}", remaining(source)) as progress,
    ):
        copy = machine.disk(device).import_from(
            source,
            offset=offset,
            flush=flush,
            verify=verify,
            digest=digest,
            progress=progress,
            retry_for=retry_for,
        )
    report(settings, "imported", device, copy)


@click.command()
@device_argument
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--offset", type=SIZE, default=0, help="First byte on the disk.")
@click.option("--length", type=SIZE, help="Number of bytes  [default: to the end]")
@click.option("-f", "--force", is_flag=True, help="Replace FILE if it exists.")
@no_digest_option
@retry_option
@common
@click.pass_obj
def export(
    settings: Settings,
    device: str,
    file: str,
    offset: int,
    length: int | None,
    force: bool,
    no_digest: bool,
    retry_for: float,
) -> None:
    """Copy a disk to FILE. If FILE is -, copy to standard output.

    FILE appears under its name only when it is complete. Runs of zeroes become holes.
    """
    target = open_output() if file == STANDARD else Path(file)
    with settings.connect() as machine:
        disk = machine.disk(device)
        total = length
        if total is None and settings.progress:
            total = max(0, disk.info(retry_for=retry_for).capacity_bytes - offset)
        with progress_bar(settings, f"export {device}", total) as progress:
            copy = disk.export_to(
                target,
                offset=offset,
                length=length,
                overwrite=force,
                digest=not no_digest,
                progress=progress,
                retry_for=retry_for,
            )
    report(settings, "exported", device, copy, error=file == STANDARD)


@click.command()
@device_argument
@click.option("--offset", type=SIZE, default=0, help="First byte.")
@click.option(
    "--length", type=SIZE, help="Number of bytes  [default: to the end; on a terminal 512]"
)
@click.option(
    "--hex/--raw", "as_hex", default=None, help="Print a hex dump  [default on a terminal]"
)
@retry_option
@common
@click.pass_obj
def read(
    settings: Settings,
    device: str,
    offset: int,
    length: int | None,
    as_hex: bool | None,
    retry_for: float,
) -> None:
    """Read a range to standard output."""
    dump = sys.stdout.isatty() if as_hex is None else as_hex
    if length is None and dump and sys.stdout.isatty():
        length = 512
    if settings.json and (length is None or length > JSON_READ_LIMIT):
        raise click.UsageError(
            f"a read with --json is limited: give a --length up to {spell_size(JSON_READ_LIMIT)}"
        )
    with settings.connect() as machine:
        parts = machine.disk(device).stream(offset, length, retry_for=retry_for)
        if settings.json:
            data = b"".join(parts)
            show_json(
                {
                    "device": device,
                    "offset_bytes": offset,
                    "length_bytes": len(data),
                    "data_base64": base64.b64encode(data).decode(),
                }
            )
        elif dump:
            for line in hexdump(parts, offset):
                say(line)
        else:
            write_out(parts)


def write_out(parts: Iterator[bytes]) -> None:
    """Write all bytes to standard output. A single write may take only some of them."""
    output = open_output()
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[output.write(view) :]


@click.command()
@device_argument
@click.argument("file", type=click.Path(allow_dash=True), default=STANDARD)
@click.option("--offset", type=SIZE, required=True, help="First byte on the disk.")
@retry_option
@common
@click.pass_obj
def write(settings: Settings, device: str, file: str, offset: int, retry_for: float) -> None:
    """Write FILE, or standard input, to a disk at --offset.

    `virtmesh blk flush` makes the data durable.
    """
    with (
        open_source(file) as source,
        settings.connect() as machine,
        progress_bar(settings, f"write {device}", remaining(source)) as progress,
    ):
        copy = machine.disk(device).write(offset, source, progress=progress, retry_for=retry_for)
    report(settings, "wrote", device, copy)
