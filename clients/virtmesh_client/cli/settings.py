"""The options that every command has. They may stand before or after the command's name."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from virtmesh_common.request_id import check_request_id, make_request_id
from virtmesh_common.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from virtmesh_client.machine import Machine

Function = TypeVar("Function", bound="Callable[..., Any]")

COMPLETION_SECONDS = 1.0
"""How long a completion with Tab may wait for the machine."""


@dataclass
class Settings:
    """Values of the common options. They are set while the command line is parsed."""

    address: str | None = None
    insecure: bool = False
    """Plain text is allowed, to any host."""
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    request_id: str = field(default_factory=make_request_id)
    """Identifier of the requests of this command line in the logs of the services."""
    injectors: Any = None
    """The InjectorPool that all commands of a batch share; None outside of one."""

    @property
    def progress(self) -> bool:
        """True if a progress bar is to be shown: standard error is a terminal."""
        return sys.stderr.isatty() and not self.json and not self.quiet

    def connect(self, timeout: float | None = None, retry_for: float | None = None) -> Machine:
        """Connect to the machine of --address. Errors: ServiceUnavailable; UsageError."""
        from virtmesh_client.machine import connect  # noqa: PLC0415 - gRPC takes time to import
        from virtmesh_client.retry import RETRY_SECONDS  # noqa: PLC0415 - as above

        try:
            return connect(
                self.address,
                timeout=timeout,
                request_id=self.request_id,
                insecure=self.insecure,
                retry_for=RETRY_SECONDS if retry_for is None else retry_for,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error


def identify(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Check and store the identifier of the request. Errors: BadParameter."""
    if value is not None and not check_request_id(value):
        raise click.BadParameter(f"{value!r} does not have 1 to 64 letters, digits, or . _ : -")
    remember(context, parameter, value)


def remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Store the value of a common option, wherever it stood on the command line."""
    settings = context.ensure_object(Settings)
    if value and parameter.name == "address" and settings.injectors is not None:
        raise click.UsageError("a batch has one machine: give --address before its -, in no line")
    if value:
        setattr(settings, str(parameter.name), value)


COMMON = (
    click.option(
        "--address",
        metavar="ADDR",
        expose_value=False,
        callback=remember,
        help="Address of the kernel service: unix:PATH or HOST:PORT  [default: $VIRTMESH_ADDRESS,"
        " or the machine that `up` started]",
    ),
    click.option(
        "--insecure",
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Speak plain text to ADDR, also to another host: all that is said can be read and"
        " changed on its way.",
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
        help="Print the request identifier, as in the logs of the services, with an error.",
    ),
    click.option(
        "--request-id",
        metavar="ID",
        expose_value=False,
        callback=identify,
        help="Request identifier for the logs of the services  [default: a new one]",
    ),
)


def common(function: Function) -> Function:
    """Add the common options to a command."""
    for option in reversed(COMMON):
        function = option(function)
    return function


class Size(click.ParamType[int]):
    """A size or offset in bytes: 4096, 0x1000, 64M, 1GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        try:
            size = parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if size >= 1 << 63:
            self.fail(f"{value} is too large: choose less than 8 EiB", param, ctx)
        return size


SIZE = Size()


def complete_device(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str | CompletionItem]:
    """Complete the name of a device. Without an answer of the machine, complete nothing."""
    from virtmesh_client.machine import connect  # noqa: PLC0415 - gRPC takes time to import
    from virtmesh_common.errors import VirtmeshError  # noqa: PLC0415

    settings = context.find_object(Settings) or Settings()
    try:
        with connect(
            settings.address, timeout=COMPLETION_SECONDS, insecure=settings.insecure
        ) as machine:
            names = [device.name for device in machine.devices()]
    except (VirtmeshError, ValueError):
        return []
    return [name for name in names if name.startswith(incomplete)]


device_argument = click.argument("device", shell_complete=complete_device)
