"""`virtmesh trace replay`: whether a device answers as one did in a saved trace."""

# ruff: noqa: FBT001 - click hands each option over as a parameter

from __future__ import annotations

import virtmesh.telemetry.lean_structlog  # noqa: F401 - before structlog is imported

# isort: split
import asyncio
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtmesh.local.installation import check_host
from virtmesh_client.cli.settings import Settings, common
from virtmesh_client.cli.show import show_json
from virtmesh_client.trace.decode import may_differ
from virtmesh_client.trace.store import load_trace
from virtmesh_common.errors import DeviceNotFound, TraceDiffers
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.local.replay import Compared
    from virtmesh_client.trace.events import Event


@dataclass
class Tally:
    """What came of a replay."""

    accesses: int = 0
    differences: list[dict[str, str | int]] = field(default_factory=list)
    not_compared: dict[str, int] = field(default_factory=dict)
    """Values that differ and may, by register."""

    def add(self, one: Compared) -> None:
        """Count an access."""
        self.accesses += 1
        if one.differs:
            self.differences.append(
                {
                    "sequence": one.event.sequence,
                    "register": one.register,
                    "recorded": one.recorded,
                    "now": one.now,
                }
            )
        elif one.recorded != one.now:
            self.not_compared[one.register] = self.not_compared.get(one.register, 0) + 1


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-d", "--device", required=True, help="The device, in the trace and on the machine.")
@click.option(
    "--to",
    "endpoint",
    metavar="ADDR",
    help="Address of the device service  [default: that of the machine's device]",
)
@click.option("--strict", is_flag=True, help="Compare registers too that may differ.")
@common
@click.pass_obj
def replay(settings: Settings, file: Path, device: str, endpoint: str | None, strict: bool) -> None:
    """Replay the register accesses of a saved trace, and show what differs.

    Nobody may be attached to the device: it is reset. Requests are not replayed.
    """
    check_host()
    # It attaches as a driver does, which takes what hosting takes.
    from virtmesh.local.replay import steps_of  # noqa: PLC0415

    steps = steps_of(load_trace(file), device)
    tally = Tally()
    asyncio.run(run(settings, steps, endpoint or find_endpoint(settings, device), tally, strict))
    if settings.json:
        show_json({"device": device, **asdict(tally)})
    elif not settings.quiet:
        reasons = may_differ(steps[0].source)
        for register, count in sorted(tally.not_compared.items()):
            say(f"{register} differs {count} times: {reasons[register]}", err=True)
    if tally.differences:
        raise TraceDiffers(
            f"{device} does not answer as in {file}: {len(tally.differences)} of {tally.accesses}"
            " accesses differ",
            differences=len(tally.differences),
        )
    if not settings.quiet and not settings.json:
        say(f"{device}: {tally.accesses} accesses, answered as in {file}", err=True)


async def run(
    settings: Settings, steps: Sequence[Event], endpoint: str, tally: Tally, strict: bool
) -> None:
    """Replay, and print each difference."""
    from virtmesh.local.replay import replay as replay_steps  # noqa: PLC0415

    async for one in replay_steps(steps, endpoint, strict=strict):
        tally.add(one)
        if one.differs and not settings.json:
            say(f"#{one.event.sequence} {one.register}")
            say(f"  - {one.recorded}")
            say(f"  + {one.now}")


def find_endpoint(settings: Settings, device: str) -> str:
    """Return the address of a device's service. Errors: DeviceNotFound."""
    with settings.connect() as machine:
        for one in machine.devices():
            if one.name == device:
                return one.endpoint
    raise DeviceNotFound(f"the machine has no device {device!r}")
