"""A client of a serial line in its own process: it watches, sends, and waits until it is killed.

    python -m tests.support.line_client ADDRESS CHARACTERS

It sends CHARACTERS characters, and prints "taken N" for each report that N have left the line.
ADDRESS is the address of the device service.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.channel import open_sync_channel

if TYPE_CHECKING:
    from collections.abc import Iterator


def pattern(characters: int) -> bytes:
    """Return the characters to send. Each differs from its neighbours."""
    return bytes(place % 251 for place in range(characters))


def requests(characters: int) -> Iterator[pb.OpenRequest]:
    """Yield the requests of a client that never ends its stream."""
    yield pb.OpenRequest(start=pb.Start(watch=True))
    yield pb.OpenRequest(input=pb.Input(data=pattern(characters)))
    threading.Event().wait()


def main() -> None:
    """Run the client."""
    address, characters = sys.argv[1:]
    with open_sync_channel(address) as channel:
        for answer in UartServiceStub(channel).Open(requests(int(characters))):
            if answer.WhichOneof("response") == "taken":
                print("taken", answer.taken.characters, flush=True)  # noqa: T201 - its purpose


if __name__ == "__main__":
    main()
