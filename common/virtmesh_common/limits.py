"""The limits of a service: how much of each thing its clients may have, together and each.

They stand in `[limits]` of a machine file and on the command line of each service (`--limit
NAME=VALUE`); docs/limits.md is made from them. A limit that ends in `-per-client` holds what one
client may have of the limit it is named after.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from virtmesh_common.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PER_CLIENT = "-per-client"
"""Ends the name of a limit of one client."""
PER_DISK = "-per-disk"
"""Ends the name of a limit of one disk."""
SERVICE_LIMIT = "--service-limit"
"""The option of devices whose kinds may have an option --limit of their own."""
BYTES = "bytes"
"""Unit of limits that are sizes, such as 64M."""


@dataclass(frozen=True)
class Limit:
    """One limit. Values are whole numbers from `least` to `most`."""

    name: str
    default: int
    unit: str
    meaning: str
    least: int
    most: int
    counted: bool
    """False for one that is set once, and of which nothing is held: a time, or gRPC's own."""

    @property
    def whole(self) -> str:
        """The limit that this one is a part of; empty for one by itself."""
        for part in (PER_CLIENT, PER_DISK):
            if self.name.endswith(part):
                return self.name.removesuffix(part)
        return ""

    def parse(self, value: str | int) -> int:
        """Return a value that this limit may have. Errors: ValueError, with the mend."""
        number = parse_size(value) if self.unit == BYTES else _whole(value)
        if not self.least <= number <= self.most:
            raise ValueError(f"{number} {self.unit}: choose from {self.least} to {self.most}")
        return number


def _whole(value: str | int) -> int:
    """Return a whole number. Errors: ValueError."""
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()):
        raise ValueError(f"{value!r} is no whole number")
    return int(text)


def _limit(  # noqa: PLR0913 - the facts of one limit
    default: int,
    unit: str,
    meaning: str,
    *,
    least: int = 1,
    most: int = 1 << 20,
    counted: bool = True,
) -> Any:
    """Define a limit of the dataclass."""
    about = {"unit": unit, "meaning": meaning, "least": least, "most": most, "counted": counted}
    return field(default=default, metadata=about)


def _forwarded(default: int, unit: str, meaning: str) -> Any:
    """Define a limit of what a kernel passes on: each device has such budgets of its own."""
    return _limit(default, unit, meaning, most=4096, counted=False)


@dataclass(frozen=True)
class Limits:
    """Every limit of a service, with its default. A field `data_bytes` is the limit data-bytes."""

    connections: int = _limit(
        1024,
        "connections",
        "to one gRPC listener, half-open ones included (50 KiB each); more are closed at once",
        counted=False,
    )
    handshake_seconds: int = _limit(
        5, "seconds", "that a client may take for TLS and HTTP/2 to begin", counted=False, most=3600
    )
    calls_per_connection: int = _limit(
        1024,
        "calls",
        "at a time on one connection: gRPC refuses more, without a reason",
        counted=False,
    )
    calls: int = _limit(2048, "calls", "under way, streams included")
    calls_per_client: int = _limit(512, "calls", "under way of one client, streams included")
    streams: int = _limit(1024, "streams", "open; those that move data of disks are transfers")
    streams_per_client: int = _limit(256, "streams", "open of one client")
    forwarded_calls: int = _forwarded(512, "calls", "that a kernel passes to a device")
    forwarded_calls_per_client: int = _forwarded(128, "calls", "of one client at a device")
    forwarded_streams: int = _forwarded(512, "streams", "that a kernel passes to a device")
    forwarded_streams_per_client: int = _forwarded(128, "streams", "of one client at a device")
    transfers: int = _limit(512, "transfers", "that read or write disks")
    transfers_per_client: int = _limit(256, "transfers", "of one client")
    files: int = _limit(
        16, "files", "of clients that are copied to disks or from them: a thread each"
    )
    files_per_client: int = _limit(8, "files", "of one client that are copied so")
    request_streams: int = _limit(
        128, "streams", "by which clients send requests; of each, one (2 MiB) may have come in part"
    )
    request_streams_per_client: int = _limit(32, "streams", "by which one client sends requests")
    unread_requests: int = _limit(
        64, "requests", "of other calls that have come in part (2 MiB each); more wait"
    )
    unread_requests_per_client: int = _limit(
        16, "requests", "of other calls of one client that have come in part"
    )
    request_seconds: int = _limit(
        30, "seconds", "that the request of such a call may take to come", counted=False, most=3600
    )
    stalled_ms: int = _limit(
        1000,
        "milliseconds",
        "that a write may have room for data, or a call for its request, and not get it while"
        " others wait for that room",
        counted=False,
        most=3_600_000,
    )
    data_bytes: int = _limit(
        96 << 20, BYTES, "of disks in memory for transfers", least=4 << 20, most=1 << 40
    )
    data_bytes_per_disk: int = _limit(
        48 << 20, BYTES, "of one disk in memory for transfers", least=2 << 20, most=1 << 40
    )
    data_bytes_per_client: int = _limit(
        24 << 20, BYTES, "in memory for transfers of one client", least=2 << 20, most=1 << 40
    )
    register_batches: int = _limit(64, "batches", "of register accesses under way by gRPC")
    register_batches_per_client: int = _limit(16, "batches", "of register accesses of one client")
    turn_us: int = _limit(
        250,
        "microseconds",
        "of work on one batch of register accesses before others have a turn",
        counted=False,
        least=50,
        most=100_000,
    )
    trace_watchers: int = _limit(64, "streams", "that watch traces")
    trace_watchers_per_client: int = _limit(32, "streams", "of one client that watch traces")
    screen_watchers: int = _limit(32, "streams", "that watch a display", most=4096)
    screenshots: int = _limit(4, "screenshots", "of a display under way", most=256)
    input_scripts: int = _limit(16, "calls", "that type, click or move on a device", most=4096)

    @classmethod
    def of(cls, values: Mapping[str, str | int], base: Limits | None = None) -> Limits:
        """Return limits with some values of their own, by name; others are those of `base`.

        Errors: ValueError, naming the limit and the mend.
        """
        changed: dict[str, int] = {}
        for name, value in values.items():
            try:
                changed[_field(name)] = find(name).parse(value)
            except ValueError as error:
                raise ValueError(f"limit {name}: {error}") from error
        return replace(base or cls(), **changed).consistent()

    def consistent(self) -> Limits:
        """Return limits where no part, such as that of a client, is larger than the whole."""
        smaller = {
            _field(one.name): self.value(one.whole)
            for one in LIMITS
            if one.whole and self.value(one.name) > self.value(one.whole)
        }
        return replace(self, **smaller)

    def value(self, name: str) -> int:
        """Return the value of a limit. Errors: ValueError."""
        number: int = getattr(self, _field(find(name).name))
        return number

    def differing(self) -> dict[str, int]:
        """Return the values that are not the defaults, by name."""
        return {
            one.name: self.value(one.name) for one in LIMITS if self.value(one.name) != one.default
        }

    def arguments(self) -> list[str]:
        """Return the arguments that tell a device the values that are not the defaults."""
        pairs = [f"{name}={value}" for name, value in self.differing().items()]
        return [part for pair in pairs for part in (SERVICE_LIMIT, pair)]


def _field(name: str) -> str:
    """Return the field of a limit."""
    return name.replace("-", "_")


LIMITS = tuple(
    Limit(one.name.replace("_", "-"), int(str(one.default)), **one.metadata)
    for one in fields(Limits)
)
"""Every limit, in the order of the table."""
DEFAULTS = Limits()
"""Every limit as it is where nobody says anything else."""
_BY_NAME = {one.name: one for one in LIMITS}


def find(name: str) -> Limit:
    """Return a limit by its name. Errors: ValueError, naming the nearest."""
    try:
        return _BY_NAME[name]
    except KeyError:
        near = get_close_matches(name, _BY_NAME, n=1)
        mend = f"did you mean {near[0]}?" if near else "docs/limits.md lists them"
        raise ValueError(f"there is no such limit: {mend}") from None


def parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """Return the values of `NAME=VALUE` pairs, by name. Errors: ValueError, with the mend."""
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not value:
            raise ValueError(f"{pair!r}: write NAME=VALUE, such as streams=64")
        values[name.strip()] = value.strip()
    return values
