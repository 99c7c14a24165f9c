"""Asking the supervisor of this service, if it has one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh_common.errors import NoAnswer
from virtmesh_common.supervision import (
    ANSWER_BYTES_MAX,
    ANSWER_SECONDS,
    Restarted,
    decode_answer,
    encode_request,
    nobody,
)
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from pathlib import Path


async def restart_process(control: Path | None, name: str) -> Restarted:
    """Have a process ended and started anew, through the socket of its supervisor.

    Errors: those of the supervisor; NotSupervised; NoAnswer.
    """
    if control is None:
        raise nobody("this service has no run folder")
    request = encode_request(name)
    writer: asyncio.StreamWriter | None = None
    try:
        async with time_limit(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(
                str(control), limit=ANSWER_BYTES_MAX
            )
            writer.write(request)
            return decode_answer(await reader.readline())
    except TimeoutError:
        raise NoAnswer(f"the supervisor did not answer within {ANSWER_SECONDS:g} seconds") from None
    except (OSError, ValueError) as error:  # ValueError: a line beyond the limit
        raise nobody(getattr(error, "strerror", None) or str(error)) from error
    finally:
        if writer is not None:
            writer.close()
