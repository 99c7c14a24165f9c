"""A stream of the events of a serial line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from virtmesh_client.serial.terminal import SerialTerminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.channel import KernelChannel
    from virtmesh_client.serial.models import Position, SerialEvent


class SerialWatch:
    """A stream of the events of a serial line, from the time when the object is made.

    Iterate over it, and close it or use it in a `with`. It ends when any thread closes it. It
    reconnects by itself: the events `Disconnected`, `Reconnected`, `Gap` and `Restarted` tell.

    Example:
        with virtmesh_client.connect() as machine, machine.serial().watch(tail=100) as watch:
            first = next(watch)
        print(first)
    """

    def __init__(
        self, channel: KernelChannel, device: str, *, tail: int = 0, since: Position | None = None
    ) -> None:
        self._terminal = SerialTerminal(channel, device, tail=tail, since=since)
        self._terminal.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[SerialEvent]:
        return self

    def __next__(self) -> SerialEvent:
        event = self._terminal.next_event()
        if event is None:
            raise StopIteration
        return event

    @property
    def position(self) -> Position:
        """Position after the last byte of output that arrived, whether it was read or not."""
        return self._terminal.position

    def close(self) -> None:
        """End the stream. Any thread may call this."""
        self._terminal.close(hurry=True)

    cancel = close
