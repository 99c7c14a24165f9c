"""What to do about an error: the advice that is printed behind its message."""

from __future__ import annotations

from virtmesh_common import errors
from virtmesh_common.blk import errors as blk
from virtmesh_common.input import errors as input_errors

HINTS: tuple[tuple[type[Exception], str], ...] = (
    (errors.DeviceNotFound, "`virtmesh devices` lists the devices"),
    (errors.DeviceNotReady, "`virtmesh devices` shows the state of the device"),
    (errors.DeviceLost, "try again when `virtmesh devices` shows that the device is ready"),
    (
        blk.BlockReadOnly,
        "`virtmesh blk read-only DEVICE off` allows writes, unless it was started read-only",
    ),
    (blk.PastEnd, "`virtmesh blk info` shows the size, `virtmesh blk resize` changes it"),
    (blk.WouldShrink, "--shrink allows it"),
    (blk.Unaligned, "`virtmesh blk info` shows the block size"),
    (input_errors.BadEvent, "`virtmesh input info` shows what the device has"),
    (input_errors.UnknownKey, "`virtmesh input info` lists the keys of the device"),
    (errors.WatcherTooSlow, "watch again, and read faster than the events arrive"),
    (FileExistsError, "--force replaces a file"),
)
UNREACHABLE_HINT = "does the machine run? `virtmesh status` shows it, `virtmesh up` starts one"


def advice_for(error: Exception) -> str:
    """Return what to do about an error; empty if its message says that already."""
    if isinstance(error, errors.ServiceUnavailable):
        return "" if "virtmesh up" in error.message else UNREACHABLE_HINT
    if isinstance(error, blk.BlockReadOnly) and "was started read-only" in error.message:
        return ""
    return next((text for kind, text in HINTS if isinstance(error, kind)), "")
