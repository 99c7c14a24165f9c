"""Interrupts where kernel AIO is used up, and the driver fills and blocks its eventfds.

`fs.aio-max-nr` is one number for the whole host: any user can take all of it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import threading
from collections.abc import Iterator

import pytest
from virtmesh_native import Interrupt

from tests.support.lingering import SOON

IO_SETUP, IO_DESTROY = {"x86_64": (206, 207), "aarch64": (0, 1)}.get(
    platform.machine(), (None, None)
)
FULL = (1 << 64) - 2
"""The most that the counter of an eventfd holds."""
NEEDED = 128
"""Events that an interrupt asks the kernel for."""


@pytest.fixture
def no_aio() -> Iterator[None]:
    """Use kernel AIO up."""
    if IO_SETUP is None:
        pytest.skip(f"the numbers of system calls of {platform.machine()} are not known here")
    libc = ctypes.CDLL(None, use_errno=True)
    contexts: list[ctypes.c_ulong] = []
    size = 1 << 16
    while size >= NEEDED // 2:
        context = ctypes.c_ulong(0)
        if libc.syscall(IO_SETUP, size, ctypes.byref(context)) == 0:
            contexts.append(context)
        else:
            size //= 2
    yield
    for context in contexts:
        libc.syscall(IO_DESTROY, context)


def ends(work: threading.Thread) -> bool:
    """Run it, and say whether it ends."""
    work.daemon = True
    work.start()
    work.join(SOON)
    return not work.is_alive()


@pytest.mark.usefixtures("no_aio")
@pytest.mark.parametrize("kind", ["queue", "configuration", "line"])
def test_whoever_raises_an_interrupt_does_not_wait(kind: str) -> None:
    """The next driver of the device is signalled, though the last one still waits for nothing."""
    interrupt = Interrupt()

    def give(descriptor: int | None) -> None:
        if kind == "queue":
            interrupt.set_call(0, descriptor)
        elif kind == "configuration":
            interrupt.set_config_call(descriptor)
        else:
            interrupt.set_line_call(descriptor)

    def use() -> None:
        interrupt.raise_used(0)
        interrupt.raise_config()
        interrupt.reset()

    full = os.eventfd(0, os.EFD_NONBLOCK)
    give(full)
    os.eventfd_write(full, FULL)
    fcntl.fcntl(full, fcntl.F_SETFL, 0)

    def use_and_leave() -> None:
        use()
        use()
        give(None)

    assert ends(threading.Thread(target=use_and_leave))
    call = os.eventfd(0, os.EFD_NONBLOCK)
    give(call)
    assert ends(threading.Thread(target=use))
    fcntl.fcntl(call, fcntl.F_SETFL, 0)
    assert ends(threading.Thread(target=lambda: os.eventfd_read(call)))
    os.close(full)
    os.close(call)
