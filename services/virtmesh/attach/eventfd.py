"""Reading eventfds that another process has as well."""

from __future__ import annotations

import errno
import os

COUNTER_BYTES = 8
"""What a read of an eventfd returns: its counter."""


def drain(descriptor: int) -> bool:
    """Read an eventfd without ever waiting; False when it was not signalled.

    O_NONBLOCK is no help: it belongs to the open file, so that whoever shares it can clear it at
    any time, and empty the counter between the moment when it was readable and the read.
    """
    counter = [bytearray(COUNTER_BYTES)]
    try:
        return os.preadv(descriptor, counter, -1, os.RWF_NOWAIT) == COUNTER_BYTES
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
    # Linux before 5.8 has no RWF_NOWAIT for eventfds: there the flags decide.
    try:
        os.eventfd_read(descriptor)
    except BlockingIOError:
        return False
    return True
