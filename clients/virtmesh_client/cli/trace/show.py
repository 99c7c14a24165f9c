"""One line for each event: aligned and coloured for people, an object for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from virtmesh_client.trace.decode import printable
from virtmesh_client.trace.events import ALWAYS, CPU_ACCESS, GROUPS
from virtmesh_client.trace.merge import Clock

if TYPE_CHECKING:
    from virtmesh_client.cli.settings import Settings
    from virtmesh_client.trace.decode import Spelled
    from virtmesh_client.trace.events import Event

DEVICE_WIDTH = 8
"""Room for the name of a device; longer names make the lines behind them longer."""
DEVICE_MAX = 32
ACTOR_WIDTH = 6

COLORS = {
    **dict.fromkeys(GROUPS["register"], "cyan"),
    **dict.fromkeys(GROUPS["request"], "green"),
    **dict.fromkeys(GROUPS["notify"], "yellow"),
    **dict.fromkeys(GROUPS["interrupt"], "yellow"),
    **dict.fromkeys(GROUPS["state"], "magenta"),
}
"""Colours by kind; queue events are as plain as the terminal is."""
ALARMING = frozenset({"read_refused", "write_refused", "fault", "quirk", "violation"})


class Printer:
    """Prints events on standard output, in colour on a terminal only."""

    def __init__(self, settings: Settings, *, flush: bool) -> None:
        self._json = settings.json
        self._flush = flush
        self._color = not settings.json and sys.stdout.isatty()
        self._clock = Clock()
        self._width = DEVICE_WIDTH

    def show(self, event: Event, spelled: Spelled) -> None:
        """Print an event. Errors: BrokenPipeError."""
        line = spell_json(event, spelled) if self._json else self._spell(event, spelled)
        sys.stdout.write(line + "\n")
        if self._flush:
            sys.stdout.flush()

    def _spell(self, event: Event, spelled: Spelled) -> str:
        """Spell a line for people."""
        time = spell_time(self._clock.time(event))
        device = printable(event.source.device)
        self._width = min(max(self._width, len(device)), DEVICE_MAX)
        since = "" if spelled.since_add_ns is None else f"  +{spell_span(spelled.since_add_ns)}"
        head = f"{time} {device:<{self._width}} {spelled.actor:<{ACTOR_WIDTH}}"
        if not self._color:
            return f"{head} {spelled.text}{since}"
        alarming = event.kind in ALARMING or event.kind in ALWAYS
        color = "red" if alarming else COLORS.get(event.kind)
        text = click.style(spelled.text, fg=color, bold=alarming)
        return f"{click.style(head, dim=True)} {text}{click.style(since, dim=True)}"


def spell_time(time_ns: int) -> str:
    """Spell a time in seconds, to the microsecond."""
    sign = "-" if time_ns < 0 else ""
    seconds, rest = divmod(abs(time_ns) // 1000, 1_000_000)
    return f"{sign}{seconds}.{rest:06}".rjust(12)


def spell_span(span_ns: int) -> str:
    """Spell a time in the unit that fits it."""
    for limit, unit in ((10_000, "ns"), (10_000_000, "us"), (10_000_000_000, "ms")):
        if span_ns < limit:
            return f"{span_ns * 10_000 // limit} {unit}"
    return f"{span_ns // 1_000_000_000} s"


def spell_json(event: Event, spelled: Spelled) -> str:
    """Spell an event as an object on one line; names and meanings of fields are stable."""
    source = event.source
    content: dict[str, Any] = {
        "time_ns": event.time_ns,
        "realtime_ns": event.time_ns + source.realtime_offset_ns,
        "device": source.device,
        "side": source.side,
        "sequence": event.sequence,
        "kind": event.kind,
        "detail": event.detail,
        "queue": event.queue,
        "token": event.token,
        "value": event.value,
        "extra": event.extra,
        "text": event.text,
        "spelled": spelled.text,
    }
    if spelled.register:
        content |= {"register": spelled.register, "meaning": spelled.meaning}
    if event.kind == CPU_ACCESS:
        content |= {"pc": event.extra, "symbol": event.text}
    if spelled.since_add_ns is not None:
        content["since_add_ns"] = spelled.since_add_ns
    return json.dumps(content, ensure_ascii=False)
