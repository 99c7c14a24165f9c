"""Types of command-line options that several services have."""

from __future__ import annotations

import math
import re
from typing import Any

import click
from virtmesh_native import Recorder

from virtmesh_common.channel import check_address
from virtmesh_common.limits import Limits, parse_pairs
from virtmesh_common.names import NAME_PATTERN
from virtmesh_common.sizes import parse_size


class Name(click.ParamType[str]):
    """The name of a device on its machine."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the name."""
        if not re.fullmatch(NAME_PATTERN, value):
            self.fail(f"{value!r} is no name: use {NAME_PATTERN}", param, ctx)
        return value


class Address(click.ParamType[str]):
    """An address to listen on."""

    name = "address"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the address."""
        try:
            return check_address(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Size(click.ParamType[int]):
    """A size on a command line, such as 64M."""

    name = "size"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the bytes."""
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class LimitValues(click.ParamType[str]):
    """One NAME=VALUE of a limit (docs/limits.md)."""

    name = "limit"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the name and the value."""
        try:
            Limits.of(parse_pairs([value]))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


class Keepalive(click.FloatRange):
    """Seconds between pings; 0: none."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(0, 86_400)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number. "nan" is in every range, and is none."""
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value} is not a number of seconds", param, ctx)
        return seconds


class Events(click.IntRange):
    """How many events a flight recorder keeps."""

    name = "events"

    def __init__(self) -> None:
        super().__init__(0, Recorder.CAPACITY_MAX)


def check_queue_size(queue_size: int) -> None:
    """Check the value of --queue-size. Errors: click.BadParameter unless it is a power of two."""
    if queue_size & (queue_size - 1):
        smaller = 1 << queue_size.bit_length() - 1
        raise click.BadParameter(
            f"{queue_size} is not a power of two: choose {smaller} or {2 * smaller}",
            param_hint="--queue-size",
        )
