"""`virtmesh report`: which statements of their specification the drivers of devices broke."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from virtmesh_client.cli.errors import VIOLATIONS
from virtmesh_client.cli.settings import Settings, common, complete_device
from virtmesh_client.cli.show import show_json, show_table
from virtmesh_client.report import BOARD
from virtmesh_common.errors import NotOffered
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from virtmesh_client.machine import Machine
    from virtmesh_client.report import Report, Violation

COLUMNS = ("DEVICE", "CLAUSE", "COUNT", "RULE", "STATEMENT", "FIRST", "PC", "WHAT")


@click.command()
@click.argument("devices", nargs=-1, metavar="[DEVICE]...", shell_complete=complete_device)
@common
@click.pass_obj
def report(settings: Settings, devices: tuple[str, ...]) -> None:
    """Show which rules of the specifications drivers broke.

    They are statements of virtio 1.4 and of the data sheet of the 16550. Without a DEVICE, of all
    devices, and of the board of a CPU. FIRST is the number of the first
    violation in `virtmesh trace`, PC where the guest was, of a machine with a
    CPU. The exit status is 0 if there are none, and 4 if there are some.
    """
    with settings.connect() as machine:
        reports = list(read_reports(machine, tuple(dict.fromkeys(devices))))
    if settings.json:
        show_json([asdict(one) for one in reports])
    else:
        show_report(reports, quiet=settings.quiet)
    if any(one.violations for one in reports):
        raise click.exceptions.Exit(VIOLATIONS)


def read_reports(machine: Machine, names: tuple[str, ...]) -> Iterator[Report]:
    """Read the reports of devices, and that of the board if there is one.

    "board" is that of the board, unless a device is called so. Errors: DeviceNotFound.
    """
    known = [device.name for device in machine.devices()]
    for name in names or known:
        if name != BOARD or BOARD in known:
            yield machine.report(name)
    if not names or (BOARD in names and BOARD not in known):
        try:
            yield machine.cpu().report()
        except NotOffered:
            if names:
                yield machine.report(BOARD)  # It says that there is no such device.


def show_report(reports: Sequence[Report], *, quiet: bool) -> None:
    """Print the violations as a table; without any, one line unless `quiet`."""
    rows = list(spell_rows(reports))
    if rows:
        show_table(COLUMNS, rows)
    elif not quiet:
        drivers = ", ".join(map(spell_driver, reports))
        say(f"no violations: {drivers or 'no devices'}")


def spell_driver(report: Report) -> str:
    """Name a device and its driver."""
    if report.device == BOARD and not report.driver:
        return BOARD
    return f"{report.device} ({report.driver or 'no driver'})"


def spell_rows(reports: Sequence[Report]) -> Iterator[tuple[str, ...]]:
    """Spell each violation as a row."""
    for one in reports:
        for violation in one.violations:
            yield (
                one.device,
                f"{violation.specification} {violation.clause}".rstrip(),
                str(violation.count),
                violation.rule,
                violation.statement,
                "-" if violation.sequence is None else f"#{violation.sequence}",
                spell_pc(violation),
                violation.text,
            )


def spell_pc(violation: Violation) -> str:
    """Spell where the guest was."""
    if violation.pc is None:
        return "-"
    return f"{violation.pc:#x} {violation.symbol}".rstrip()
