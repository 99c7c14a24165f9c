"""What a forked child does with the gRPC objects that it inherits: it never lets go of them.

gRPC cancels a call that is collected, with locks that a thread of the parent may have held at the
fork: the child would wait for ever, at its end at the latest.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os

import grpc


@functools.cache
def keep_inherited() -> None:
    """Do so in each child that this process forks from now on."""
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=_keep)


def _keep() -> None:
    """Add a reference that nobody gives back to each channel and call of this process."""
    for one in gc.get_objects():
        # A proxy may lie about its __class__.
        if issubclass(type(one), (grpc.Channel, grpc.RpcContext)):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))
