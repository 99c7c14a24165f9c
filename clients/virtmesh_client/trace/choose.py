"""Which events of a trace are shown."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from virtmesh_client.trace.events import ALWAYS, GROUPS, KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from virtmesh_client.trace.decode import Spelled
    from virtmesh_client.trace.events import Event

    Line = tuple[Event, Spelled]


def parse_kinds(text: str) -> frozenset[str]:
    """Return the kinds of a list of groups and kinds. Errors: ValueError, with the mend."""
    kinds: set[str] = set()
    for word in filter(None, (one.strip() for one in text.split(","))):
        if word in GROUPS:
            kinds.update(GROUPS[word])
        elif word in KINDS:
            kinds.add(word)
        else:
            raise ValueError(
                f"no kind of event is {word!r}: choose of {', '.join(GROUPS)}, or single kinds such"
                f" as {KINDS[0]}"
            )
    if not kinds:
        raise ValueError(f"name kinds of events: {', '.join(GROUPS)}")
    return frozenset(kinds) | ALWAYS


def since(seconds: float) -> Callable[[Event], bool]:
    """Choose events of the last seconds, by the clocks of this host and of the events' hosts."""
    earliest = time.time_ns() - int(seconds * 1e9)
    return lambda event: event.time_ns + event.source.realtime_offset_ns >= earliest


def last(lines: Iterable[Line], count: int | None) -> Iterator[Line]:
    """Keep the last lines; all of them for None."""
    return iter(lines) if count is None else iter(deque(lines, maxlen=count))
