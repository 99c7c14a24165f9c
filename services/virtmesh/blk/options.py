"""The options of a disk on the command line, and the disk that is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import structlog

from virtmesh.blk.creation_mark import check_creation_mark, leave_creation_mark
from virtmesh.blk.image import add_hint, check_image, create_image, describe_other_size
from virtmesh.blk.image_format import RAW
from virtmesh.blk.model import BlkModel
from virtmesh.blk.settings import (
    CACHE,
    ENGINES,
    OFFERED,
    OFFERED_WRITABLE,
    ON_ERROR,
    POLL_US,
    POLL_US_MAX,
    SEG_MAX,
    SIZE_MAX,
    BlkOptions,
)
from virtmesh.kinds.feature_option import without_option
from virtmesh.kinds.option_types import Size
from virtmesh.kinds.quirk_option import quirks_option
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh.virtio.quirks import QUIRKS
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.errors import ImageError, ImageNotFound
from virtmesh_common.blk.spec import BlkFeature

if TYPE_CHECKING:
    from collections.abc import Collection

    from virtmesh.mmio.quirks import Quirk

log = structlog.get_logger(__name__)

SIZE_MAX_LIMIT = (1 << 32) - 1
"""Largest size_max that its field can say."""
BLOCK_SIZE_MAX = 1 << 16
"""Largest block size, in bytes."""


OPTIONS = (
    click.Option(
        ["--image"],
        required=True,
        type=click.Path(path_type=Path),
        help="File or block device node with the data.",
    ),
    click.Option(
        ["--size"], type=Size(), help="Create the image with this size, sparse, if it is missing."
    ),
    click.Option(
        ["--creation-mark"],
        type=click.Path(path_type=Path),
        help="With --size: a file that is made when the disk has its image. While it is there, an"
        " image that is gone is never made anew.",
    ),
    click.Option(
        ["--format"],
        type=click.Choice([RAW]),
        help="Take the image as raw, even if it looks like a container such as qcow2.",
    ),
    click.Option(
        ["--resume"],
        is_flag=True,
        help="This is a restart after a crash: take the image as it is, and never create it.",
    ),
    click.Option(["--read-only"], is_flag=True, help="Refuse writes; open the image read-only."),
    click.Option(["--serial"], default="", help="Identification, at most 20 ASCII characters."),
    click.Option(
        ["--queues"], type=click.IntRange(1, 64), default=1, show_default=True, help="Queues."
    ),
    click.Option(
        ["--queue-size"],
        type=click.IntRange(4, 32768),
        default=256,
        show_default=True,
        help="Largest size of a queue, in entries: a power of two.",
    ),
    click.Option(
        ["--block-size"],
        type=Size(),
        default=512,
        show_default=True,
        help="Logical block size in bytes: a power of two from 512 to 64K.",
    ),
    click.Option(
        ["--seg-max"],
        type=click.IntRange(min=1),
        help="Most segments in a request  [default: 126, or queue size - 2 if that is less]",
    ),
    click.Option(
        ["--size-max"],
        type=Size(),
        default=SIZE_MAX,
        show_default=True,
        help="Largest segment of a request, in bytes.",
    ),
    click.Option(
        ["--threads"],
        type=click.IntRange(1, 64),
        default=4,
        show_default=True,
        help="Threads that execute requests.",
    ),
    click.Option(
        ["--on-error"],
        type=click.Choice(ON_ERROR),
        default=ON_ERROR[0],
        show_default=True,
        help="What is done with a request that the storage fails, such as by ENOSPC or EIO: report"
        " it to the driver, or stop, which holds it and tries it again each second.",
    ),
    click.Option(
        ["--write-log"],
        type=click.Path(path_type=Path),
        help="Record every write, discard and flush in this file, for `virtmesh blk"
        " powerloss-check`. Begins a new file, or goes on with one of this disk.",
    ),
    click.Option(
        ["--poll-us"],
        type=click.IntRange(0, POLL_US_MAX),
        help="Microseconds for which the thread of a queue polls its ring before it sleeps, at"
        " most, while that wins; 0: never. Given, it polls even if the service may use one"
        " processor only: the driver may have another one."
        f"  [default: {POLL_US}, with two processors or more]",
    ),
    click.Option(
        ["--cache"],
        type=click.Choice(CACHE),
        default=CACHE[0],
        show_default=True,
        help="Whether reads and writes go through the page cache of this host: writeback, or none,"
        " which moves them between memory and the storage. Flushes count either way.",
    ),
    click.Option(
        ["--engine"],
        type=click.Choice(ENGINES),
        default=ENGINES[0],
        show_default=True,
        help="What executes requests. auto: io_uring with --cache none where the system allows it,"
        " threads otherwise. null moves no bytes: for measuring what the rest costs.",
    ),
    without_option(OFFERED | OFFERED_WRITABLE, BlkFeature),
    quirks_option(QUIRKS),
)
"""Options of `virtmesh-device blk`."""


def check_options(*, seg_max: int | None, **values: Any) -> BlkOptions:
    """Check what click can't. Errors: click.BadParameter."""
    queue_size, block_size = values["queue_size"], values["block_size"]
    serial, size_max = values["serial"], values["size_max"]
    if queue_size & (queue_size - 1):
        raise click.BadParameter(f"{queue_size} is no power of two", param_hint="--queue-size")
    if block_size & (block_size - 1) or not blk.SECTOR <= block_size <= BLOCK_SIZE_MAX:
        raise click.BadParameter(
            f"{block_size} is no power of two from {blk.SECTOR} to {BLOCK_SIZE_MAX}",
            param_hint="--block-size",
        )
    if not 0 < size_max <= SIZE_MAX_LIMIT or size_max % block_size:
        raise click.BadParameter(
            f"{size_max} is no multiple of the block size below 4 GiB",
            param_hint="--size-max",
        )
    writeback = BlkFeature.VIRTIO_BLK_F_CONFIG_WCE
    if values["without"] & BlkFeature.VIRTIO_BLK_F_FLUSH and not values["without"] & writeback:
        raise click.BadParameter(
            "a disk that offers config_wce has to offer flush (5.2.5.2): leave both out, with"
            " flush+config_wce",
            param_hint="--without",
        )
    # A request has a header and a status byte beside its segments (5.2.6).
    if seg_max is not None and seg_max > queue_size - 2:
        raise click.BadParameter(
            f"{seg_max} segments don't fit a queue of {queue_size}: at most {queue_size - 2}",
            param_hint="--seg-max",
        )
    if len(serial.encode()) > blk.VIRTIO_BLK_ID_BYTES or not (
        serial.isascii() and serial.isprintable()
    ):
        raise click.BadParameter(
            f"{serial!r} is not at most {blk.VIRTIO_BLK_ID_BYTES} printable ASCII characters",
            param_hint="--serial",
        )
    return BlkOptions(seg_max=seg_max or min(SEG_MAX, queue_size - 2), **values)


def make_image(
    options: BlkOptions, size: int | None, creation_mark: Path | None, *, resume: bool
) -> None:
    """Make the image if it is missing, and may be made. Errors: ImageError, with the mend."""
    image = options.image
    if resume and not image.exists():
        raise ImageNotFound(
            f"{image}: the image is gone, and a restart after a crash makes no new one: put it"
            " back, or stop the machine and start it anew"
        )
    check_creation_mark(image, creation_mark)
    if not resume and size is not None and create_image(image, size, options.block_size):
        log.info("created an image", image=str(image), size_bytes=size)


RESUME = ("--resume",)
"""What is added to the options of a disk that is started again after a crash."""
# ruff: noqa: A002 - format is the name of the option


def make(
    name: str,
    *,
    size: int | None = None,
    format: str | None = None,
    resume: bool = False,
    quirks: Collection[Quirk] = (),
    **values: Any,
) -> VirtioMmio:
    """Make a disk from the options of the command line.

    With `resume` the image was served before, by a service that died: its guest may have written
    anything to it, and a resize may have changed its size, so it is taken as it is.
    Errors: click.BadParameter for options that make no sense; ImageError, with the mend.
    """
    creation_mark: Path | None = values.pop("creation_mark", None)
    options = check_options(**values)
    image = options.image
    make_image(options, size, creation_mark, resume=resume)
    if not resume:
        other_size = describe_other_size(image, size)
        if other_size:
            log.warning("the image has another size", image=str(image), text=other_size)
    check_image(image, read_only=options.read_only, is_raw=resume or format == RAW)
    try:
        model = BlkModel(name, options)
    except ImageError as error:
        raise add_hint(error, image, options.block_size) from error
    if creation_mark is not None:
        leave_creation_mark(creation_mark)
    model.watch.start()
    return VirtioMmio(model, quirks)
