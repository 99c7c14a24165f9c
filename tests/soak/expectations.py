"""Which errors an actor may meet, and why: one table. What it does not list is a violation.

Tighten a row when the product promises more. The check is `is_expected`; an error counts as caused
by what was done to the same device, or to the kernel service, from its operation's begin until its
end, or shortly before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

AFTERMATH_SECONDS = 5.0
"""How long after it was over a disturbance may still be felt."""

AWAY = frozenset({"kill", "stop", "restart"})
"""What ends the process of a service."""
REATTACHED = frozenset(
    {"needs-reset", "reset", "lost-interrupt", "lost-notification", "stuck-queue"}
    | {"wrong-length", "wrong-id"}
)
"""What makes the driver give its device back, and bring it up anew."""
BREAKING = AWAY | REATTACHED
"""Disturbances after which counters begin anew on one side, so that books are not compared."""
LINE_ERRORS = frozenset({"overrun", "parity-error", "framing-error", "break", "noise"})
"""What changes characters on a serial line."""
NO_SERVICE = frozenset(
    {"SERVICE_UNAVAILABLE", "CALL_CANCELLED", "SHUTTING_DOWN", "NO_ANSWER", "DEVICE_NOT_READY"}
    | {"DEVICE_LOST"}
)
"""What a call gets whose service is not there, stops, or has just begun."""


@dataclass(frozen=True)
class Expectation:
    """Errors that one role may meet after disturbances of one sort."""

    roles: frozenset[str]
    causes: frozenset[str]
    """Kinds of disturbances."""
    of: str
    """Whose: `device` or `kernel`."""
    reasons: frozenset[str]
    why: str
    cause: str = ""
    """What the error has to name as its cause."""


def row(  # noqa: PLR0913, PLR0917 - the columns of the table
    roles: str, causes: Iterable[str], of: str, reasons: Iterable[str], why: str, cause: str = ""
) -> Expectation:
    """Return a row of the table."""
    return Expectation(
        frozenset(roles.split()), frozenset(causes), of, frozenset(reasons), why, cause
    )


OTHERS = "injector talker reader viewer visitor monkey"
EXPECTATIONS = (
    row(
        "writer copier",
        {"io-error"},
        "device",
        {"IO_ERROR"},
        "an ordered error is reported, with its cause; nothing else of a disk is",
        cause="INJECTED",
    ),
    row(
        "writer copier",
        REATTACHED,
        "device",
        {"DEVICE_LOST", "DEVICE_NEEDS_RESET"},
        "who waits when a disk is reset, or asks for it, is told so",
    ),
    row(
        "writer copier",
        {"wrong-length", "wrong-id"},
        "device",
        {"RING_CORRUPT"},
        "a device that lies is trusted no more",
    ),
    row(
        "injector talker viewer visitor monkey",
        AWAY,
        "kernel",
        NO_SERVICE,
        "what may not be done twice ends with the kernel service, and says what is known of it",
    ),
    row(
        "viewer visitor monkey",
        AWAY,
        "device",
        NO_SERVICE,
        "the service of the device has the stream, or the call, which ends with it",
    ),
    row(
        OTHERS,
        REATTACHED,
        "device",
        {"DEVICE_LOST", "DEVICE_NOT_READY"},
        "a driver that is attached anew begins its streams anew",
    ),
    row(
        "talker",
        LINE_ERRORS,
        "device",
        {"EXPECT_TIMEOUT"},
        "a line that is disturbed loses what a dialogue waits for",
    ),
    row(
        "talker",
        BREAKING,
        "device",
        {"EXPECT_TIMEOUT", "DEVICE_NOT_READY"},
        "a monitor that begins anew has forgotten the command",
    ),
    row(
        "talker",
        AWAY,
        "kernel",
        {"EXPECT_TIMEOUT"},
        "a monitor that begins anew has forgotten the command",
    ),
    row(
        "viewer",
        BREAKING,
        "device",
        {"NO_PICTURE"},
        "a GPU that was reset shows nothing until its driver draws",
    ),
    row("viewer", AWAY, "kernel", {"NO_PICTURE"}, "nobody draws until the driver is back"),
)


def is_expected(
    role: str, reason: str, cause: str, disturbances: Iterable[tuple[str, bool]]
) -> bool:
    """Return whether the table has a row for an error.

    `disturbances` are the kinds of those that could cause it, and whether they were the kernel's.
    """
    felt = {(kind, "kernel" if of_kernel else "device") for kind, of_kernel in disturbances}
    return any(
        role in one.roles
        and reason in one.reasons
        and one.cause in {"", cause}
        and any((kind, one.of) in felt for kind in one.causes)
        for one in EXPECTATIONS
    )
