"""Logs of services: one event a line on standard error, as text or as JSON."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING, Literal, TextIO

import structlog

from virtmesh.telemetry.log_rate_limit import LogLimit
from virtmesh_common.printable import printable, printable_lines

if TYPE_CHECKING:
    from structlog.typing import EventDict, ExcInfo, Processor

Format = Literal["text", "json"]
FORMATS: tuple[Format, ...] = ("text", "json")
TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
"""Tracebacks as data, without local variables, which hold tickets, sessions and data of disks."""
LIMIT = LogLimit()
"""Counts and limits the lines of this process."""


def configure(form: Format, *, debug: bool = False) -> None:
    """Write the log of this process to standard error, in the given form.

    Code logs by `structlog.get_logger(__name__)`. Lines of libraries get the same form.
    """
    level = logging.DEBUG if debug else logging.INFO
    named: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
    ]
    dressed: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: Processor
    if form == "json":
        dressed.append(TRACEBACKS)
        last = structlog.processors.JSONRenderer()
    else:
        dressed.append(make_printable)
        last = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=write_traceback
        )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*named, *dressed],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *named,
            LIMIT,  # First, so that a line that is left out costs little.
            *dressed,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def make_printable(_: object, __: str, event: EventDict) -> EventDict:
    """Replace what would drive the terminal of a reader in every text of an event.

    A value has one line: the next would look like an event of its own. Libraries have more.
    """
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = printable_lines(value) if key == "event" else printable(value)
    return event


def write_traceback(stream: TextIO, exception: ExcInfo) -> None:
    """Write a traceback. What an exception says may come from a stranger."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exception)
    stream.write(printable_lines(text.getvalue()))
