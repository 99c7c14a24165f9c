"""Command-line options of a serial port, and the port made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from virtmesh.kinds.option_types import Size
from virtmesh.sandbox import Access, Needs
from virtmesh.uart.line.scrollback import SCROLLBACK_BYTES
from virtmesh.uart.model import UartDevice
from virtmesh.uart.settings import FREQUENCY, UartOptions
from virtmesh_common.uart.spec import REG_SHIFTS, Layout

FREQUENCY_MAX = (1 << 32) - 1
"""Fastest clock, in Hz: what a cell of the device tree holds. The data sheet has 24 MHz (8.3), and
16550s in systems on a chip have 48, 50, 100, 133 or more."""
SCROLLBACK_MAX = 1 << 30
"""Largest scrollback, in bytes."""

OPTIONS = (
    click.Option(["--pace"], is_flag=True, help="Send and receive characters at the baud rate."),
    click.Option(
        ["--clock"],
        type=click.IntRange(1, FREQUENCY_MAX),
        default=FREQUENCY,
        show_default=True,
        metavar="HZ",
        help="Clock of the baud rate generator.",
    ),
    click.Option(
        ["--auto-flow"],
        is_flag=True,
        help="Offer AFE in MCR, as later chips do: the chip handles RTS and CTS.",
    ),
    click.Option(
        ["--reg-shift"],
        type=click.IntRange(REG_SHIFTS[0], REG_SHIFTS[-1]),
        default=0,
        show_default=True,
        help="Registers are 2^N bytes apart.",
    ),
    click.Option(
        ["--reg-io-width"],
        type=click.Choice(["1", "2", "4"]),
        default="1",
        show_default=True,
        help="Width of a register, in bytes.",
    ),
    click.Option(
        ["--scrollback"],
        type=Size(),
        default=SCROLLBACK_BYTES,
        show_default=True,
        help="Output that is kept for clients that come late, in bytes.",
    ),
    click.Option(
        ["--log-file"],
        type=click.Path(path_type=Path, dir_okay=False),
        help="File to which all output is appended.",
    ),
)
"""Options of `virtmesh-device uart`."""


def check_options(*, reg_shift: int, reg_io_width: str | int, **values: Any) -> UartOptions:
    """Check the values that click can't check. Errors: click.BadParameter."""
    try:
        layout = Layout(reg_shift, int(reg_io_width))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--reg-io-width") from error
    if not 0 < values["scrollback"] <= SCROLLBACK_MAX:
        raise click.BadParameter(
            f"{values['scrollback']} is outside the range from 1 byte to 1 GiB",
            param_hint="--scrollback",
        )
    return UartOptions(layout=layout, **values)


def make(name: str, **values: Any) -> UartDevice:
    """Make a serial port from the options of the command line.

    Errors: click.BadParameter for values that the port can't have; OSError if the log file can't
    be opened.
    """
    return UartDevice(name, check_options(**values))


def needs(*, log_file: Path | None = None, **_others: Any) -> Needs:
    """Return what the service of a port needs of its sandbox.

    A log file that was moved is made again: for that the service writes to its whole folder.
    """
    return Needs([(log_file.absolute().parent, Access.CREATE)] if log_file else ())
