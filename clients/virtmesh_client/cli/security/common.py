"""What the commands about certificates and tokens share: the folder, roles, days, private files."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from virtmesh_client.atomic_file import new_path
from virtmesh_client.extras import needing
from virtmesh_common.printable import say
from virtmesh_common.security.names import DAYS_MAX
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtmesh_common.security.authority import Authority

Function = TypeVar("Function", bound="Callable[..., Any]")

VARIABLE = "VIRTMESH_SECURITY"
FILE_MODE = 0o600
STANDARD_OUTPUT = "-"


def default_folder() -> Path:
    """Return the folder where nobody names one: $VIRTMESH_SECURITY, or the user's own."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given)
    import platformdirs  # noqa: PLC0415 - it takes time

    return Path(platformdirs.user_config_dir("virtmesh", appauthor=False)) / "security"


def find_folder(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path:
    """Return the folder that a command means."""
    return (value or default_folder()).absolute()


def folder_option(function: Function) -> Function:
    """Add --folder."""
    return click.option(
        "--folder",
        type=click.Path(path_type=Path),
        metavar="DIR",
        callback=find_folder,
        help="The security folder of the machine  [default: $VIRTMESH_SECURITY, or"
        " ~/.config/virtmesh/security]",
    )(function)


def key_folder_option(function: Function) -> Function:
    """Add --authority."""
    return click.option(
        "--authority",
        "key_folder",
        type=click.Path(path_type=Path),
        metavar="DIR",
        envvar="VIRTMESH_AUTHORITY",
        help="The folder with the key of the authority, which services do not read  [default:"
        " $VIRTMESH_AUTHORITY, or that of the security folder with .authority behind its name]",
    )(function)


role_option = click.option(
    "--role",
    required=True,
    type=click.Choice([role.value for role in Role]),
    help="What the client may do: observer reads; injector also types, points and writes to serial"
    " ports; operator also has the disks, the CPU and resets; driver drives devices; owner does"
    " everything.",
)


def days_option(default: int) -> Callable[[Function], Function]:
    """Return the option --days."""
    return click.option(
        "--days",
        type=click.FloatRange(min=0, max=DAYS_MAX, min_open=True),
        default=default,
        show_default=True,
        help="How long it is valid.",
    )


force_option = click.option("--force", is_flag=True, help="Replace FILE if it exists.")


@contextlib.contextmanager
def opened(folder: Path, key_folder: Path | None = None) -> Iterator[Authority]:
    """Open an authority. Errors: SecurityError; ExtraMissing; UsageError for bad values."""
    with needing("security", "this command"):
        from virtmesh_common.security.authority import Authority  # noqa: PLC0415 - it takes time
    try:
        with Authority.open(folder, key_folder) as authority:
            yield authority
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def write_private(target: Path, text: str, *, force: bool) -> None:
    """Write a file with mode 0600. Errors: FileExistsError without `force`; OSError."""
    with new_path(target, overwrite=force) as scratch:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(scratch, flags, FILE_MODE), "w", encoding="ascii") as file:
            file.write(text)


def tell(quiet: bool, line: str) -> None:  # noqa: FBT001 - it is what it is about
    """Say something that is no result: standard output may be a bundle."""
    if not quiet:
        say(line, err=True)


def refuse_terminal(what: str) -> None:
    """Refuse to print a key where somebody may look over a shoulder. Errors: UsageError."""
    if sys.stdout.isatty():
        raise click.UsageError(f"{what} is not for a terminal: give a FILE, or a pipe")
