"""What every command knows: the options that may stand before or after its name."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from virtmesh_client.machine import Machine, connect
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.request_id import check_request_id, make_request_id
from virtmesh_common.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

Function = TypeVar("Function", bound="Callable[..., Any]")

COMPLETION_SECONDS = 1.0
"""How long a Tab may wait for the machine."""


@dataclass
class Settings:
    """The common options, filled in while the command line is parsed."""

    address: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    request_id: str = field(default_factory=make_request_id)
    """What the services call the requests of this command line in their logs."""

    @property
    def progress(self) -> bool:
        """True when a person watches standard error."""
        return sys.stderr.isatty() and not self.json and not self.quiet

    def connect(self, timeout: float | None = None) -> Machine:
        """Connect to the machine that is meant. Errors: ServiceUnavailable; UsageError."""
        try:
            return connect(self.address, timeout=timeout, request_id=self.request_id)
        except ValueError as error:
            raise click.UsageError(str(error)) from error


def identify(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Keep the identifier of the request. Errors: BadParameter."""
    if value is not None and not check_request_id(value):
        raise click.BadParameter("give 1 to 64 letters, digits, or . _ : -")
    remember(context, parameter, value)


def remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Keep a common option, wherever on the command line it stood."""
    if value:
        setattr(context.ensure_object(Settings), str(parameter.name), value)


COMMON = (
    click.option(
        "--address",
        metavar="ADDR",
        expose_value=False,
        callback=remember,
        help="Kernel service: unix:PATH or HOST:PORT ($VIRTMESH_ADDRESS, or what `up` started).",
    ),
    click.option("--json", is_flag=True, expose_value=False, callback=remember, help="Print JSON."),
    click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Print no progress and no summary.",
    ),
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Say in errors which request of the services' logs it was.",
    ),
    click.option(
        "--request-id",
        metavar="ID",
        expose_value=False,
        callback=identify,
        help="What to call the request in the services' logs  [default: made up]",
    ),
)


def common(function: Function) -> Function:
    """Give a command the common options."""
    for option in reversed(COMMON):
        function = option(function)
    return function


class Size(click.ParamType[int]):
    """A size or offset in bytes: 4096, 0x1000, 64M, 1GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes."""
        try:
            size = parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if size >= 1 << 63:
            self.fail(f"{value} is more than any disk holds", param, ctx)
        return size


SIZE = Size()


def complete_device(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str | CompletionItem]:
    """Complete the name of a device by asking the machine; nothing when it does not answer."""
    settings = context.find_object(Settings) or Settings()
    try:
        with connect(settings.address, timeout=COMPLETION_SECONDS) as machine:
            names = [device.name for device in machine.devices()]
    except (VirtmeshError, ValueError):
        return []
    return [name for name in names if name.startswith(incomplete)]


device_argument = click.argument("device", shell_complete=complete_device)
