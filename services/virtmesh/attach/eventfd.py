"""Reading eventfds that another process has as well."""

from __future__ import annotations

import errno
import os

COUNTER_BYTES = 8
"""What a read of an eventfd returns: its counter."""


def drain(descriptor: int) -> bool:
    """Read an eventfd without ever waiting. Return False if it was not signalled.

    O_NONBLOCK does not help: it belongs to the open file, so the process that shares the file can
    clear it at any time, and can empty the counter after poll reported it and before the read.
    """
    counter = [bytearray(COUNTER_BYTES)]
    try:
        return os.preadv(descriptor, counter, -1, os.RWF_NOWAIT) == COUNTER_BYTES
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
    # Linux before 5.8 has no RWF_NOWAIT for eventfds: O_NONBLOCK has to do.
    try:
        os.eventfd_read(descriptor)
    except BlockingIOError:
        return False
    return True
