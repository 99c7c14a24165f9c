"""Small files that the kernel makes when they are read: in /proc and /sys.

Those who look at many of them, again and again, read each by three system calls: a file object of
Python takes several times as many.
"""

from __future__ import annotations

import os

PAGE_BYTES = 4096
"""Most that is read: an attribute of sysfs has no more, nor what is read of /proc."""


def read_kernel_file(path: str) -> bytes:
    """Read such a file, which comes in one piece. Errors: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, PAGE_BYTES)
    finally:
        os.close(descriptor)
