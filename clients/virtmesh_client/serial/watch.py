"""What happens on a serial line, event by event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from virtmesh_client.serial.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.channel import KernelChannel
    from virtmesh_client.serial.models import Event, Position


class SerialWatch:
    """A terminal that only watches; nothing that happens from now on is missed unsaid.

    Iterate it; close it, or use it in a `with`. It ends when it is closed, also by another thread.
    It comes back by itself: `Gone`, `Back`, `Gap` and `Restarted` say so.
    """

    def __init__(
        self, channel: KernelChannel, device: str, *, tail: int = 0, since: Position | None = None
    ) -> None:
        self._terminal = Terminal(channel, device, tail=tail, since=since)
        self._terminal.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self._terminal.next_event()
        if event is None:
            raise StopIteration
        return event

    @property
    def position(self) -> Position:
        """Behind the last byte that arrived, whether it has been taken or not."""
        return self._terminal.position

    def close(self) -> None:
        """End it."""
        self._terminal.close(hurry=True)

    cancel = close
