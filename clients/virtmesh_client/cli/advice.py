"""What to do about an error: the advice that is printed behind its message."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from virtmesh_common import errors
from virtmesh_common.blk import errors as blk
from virtmesh_common.gpu import errors as gpu
from virtmesh_common.input import errors as input_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

HINTS: tuple[tuple[type[Exception], str], ...] = (
    (errors.DeviceNotFound, "`virtmesh devices` lists the devices"),
    (
        errors.DeviceNotReady,
        "`virtmesh devices` shows the state of the device, `virtmesh status` that of its process",
    ),
    (errors.DeviceLost, "try again when `virtmesh devices` shows that the device is ready"),
    (
        blk.BlockReadOnly,
        "`virtmesh blk read-only DEVICE off` allows writes, unless it was started read-only",
    ),
    (
        blk.PastEnd,
        "`virtmesh blk info DEVICE` shows the size, `virtmesh blk resize DEVICE SIZE` changes it",
    ),
    (blk.WouldShrink, "--shrink allows it"),
    (blk.Unaligned, "`virtmesh blk info DEVICE` shows the block size"),
    (input_errors.BadEvent, "`virtmesh input info` shows what the device has"),
    (input_errors.UnknownKey, "`virtmesh input info` lists the keys of the device"),
    (gpu.NoSuchScanout, "`virtmesh screen info DEVICE` lists the screens"),
    (errors.WatcherTooSlow, "watch again, and read faster than the events arrive"),
    (FileExistsError, "--force replaces a file"),
)
LIST = "`virtmesh status` lists the machines of this host, with their addresses"
NO_SOCKET = f"there is no socket of that name: {LIST}"
NOT_PERMITTED = (
    "this user may not use that socket: its machine belongs to another user; be that user, or let"
    " the kernel service listen at an address for all"
)
NOT_A_SOCKET = f"that is no socket but a {{}}: {LIST}"
NOT_OFFERED = "does not offer this call"
OTHER_KIND = (
    "the device is of another kind: `virtmesh devices` lists the devices with their drivers"
)
NO_KERNEL = f"is that a kernel service, and as new as this command? {LIST}"
STALE = f"the socket is one that nobody serves any more: {LIST}"
STATE = "`virtmesh status` shows the processes of the machines of this host"
REFUSED = (
    "nothing listens there: check the port, and that the kernel service has it in its `listen`"
)
NO_WAY = "check the address, the network and the firewalls between"
UNKNOWN_NAME = "write the address as a number to do without the DNS"
TCP_CAUSES: tuple[tuple[str, str], ...] = (
    ("through the proxy", ""),
    ("Connection refused", REFUSED),
    ("name is not known", UNKNOWN_NAME),
    ("timed out|No route|unreachable|in time", NO_WAY),
)
"""What is found in the message about a TCP address, and what to do about it."""
COMMAND = re.compile(r"`virtmesh ([a-z][a-z -]*[a-z])")
"""The words of a command in an advice."""


def advice_for(error: Exception, arguments: Sequence[str] = ()) -> str:
    """Return what to do about an error of a command line; empty if its message says that already.

    No advice is the command that has failed.
    """
    if isinstance(error, errors.ServiceUnavailable):
        advice = "" if "virtmesh up" in error.message else advice_for_address(error)
    elif isinstance(error, blk.BlockReadOnly) and "was started read-only" in error.message:
        advice = ""
    elif isinstance(error, FileExistsError) and "choose another path" in str(error):
        advice = ""  # no option replaces what is there
    elif isinstance(error, errors.NotOffered) and error.message.endswith(NOT_OFFERED):
        advice = NO_KERNEL
    elif isinstance(error, errors.NotOffered) and " is not forwarded: " in error.message:
        advice = OTHER_KIND
    else:
        advice = next((text for kind, text in HINTS if isinstance(error, kind)), "")
    return "" if is_among(COMMAND.findall(advice), arguments) else advice


def is_among(commands: Sequence[str], arguments: Sequence[str]) -> bool:
    """Say whether one of the commands is that of the command line."""
    words = [one for one in arguments if not one.startswith("-")]
    for command in commands:
        parts = command.split()
        if any(words[at : at + len(parts)] == parts for at in range(len(words))):
            return True
    return False


def advice_for_address(error: errors.ServiceUnavailable) -> str:
    """Return what to do when nobody answers at an address."""
    address = error.metadata.get("address", "")
    if address.startswith("unix:"):
        return advice_for_socket(address.removeprefix("unix:"), error.message)
    return next((text for cause, text in TCP_CAUSES if re.search(cause, error.message)), "")


def advice_for_socket(path: str, message: str) -> str:
    """Return what to do about a unix socket, by what is there now and by what gRPC said."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - the path is a string of gRPC
    except PermissionError:
        return NOT_PERMITTED
    except OSError:
        return NO_SOCKET
    if not stat.S_ISSOCK(mode):
        return NOT_A_SOCKET.format("folder" if stat.S_ISDIR(mode) else "file")
    if not os.access(path, os.W_OK):
        return NOT_PERMITTED
    return STALE if "Connection refused" in message else STATE
