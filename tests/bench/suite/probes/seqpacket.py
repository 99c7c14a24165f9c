"""Measures a bare SEQPACKET pair between two Python processes, 16 bytes each way at a time.

A line is a number of seconds; the answer has the bytes per second each way.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

from virtmesh_common.printable import say

PACKET = bytes(16)
BATCH = 100


def echo(end: socket.socket) -> None:
    """Send back what comes, until the other end is closed."""
    while data := end.recv(64):
        end.send(data)


def main() -> None:
    """Fork the process that echoes, and measure for each line."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        near.close()
        echo(far)
        os._exit(0)
    far.close()
    for line in sys.stdin:
        end, trips = time.perf_counter() + float(line), 0
        start = time.perf_counter()
        while trips == 0 or time.perf_counter() < end:
            for _ in range(BATCH):
                near.send(PACKET)
                near.recv(64)
            trips += BATCH
        rate = trips * len(PACKET) / (time.perf_counter() - start)
        say(json.dumps({"bytes_per_s": rate}))
    near.close()
    os.wait()


if __name__ == "__main__":
    main()
