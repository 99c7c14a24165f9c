"""Asking the supervisor of a local machine, which runs also where the kernel service does not."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from virtmesh_common.errors import NoAnswer
from virtmesh_common.supervision import (
    ANSWER_BYTES_MAX,
    ANSWER_SECONDS,
    CONTROL,
    Restarted,
    decode_answer,
    encode_request,
    nobody,
)

if TYPE_CHECKING:
    from pathlib import Path


def restart_process(run_dir: Path, name: str, timeout: float = ANSWER_SECONDS) -> Restarted:
    """End a process of a machine and start it anew, or bring it back where it was held.

    Errors: DeviceNotFound; DeviceNotReady when it does not stay up; NotSupervised; NoAnswer.
    """
    request = encode_request(name)
    deadline = time.monotonic() + timeout
    answer = b""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.settimeout(timeout)
            connection.connect(str(run_dir / CONTROL))
            connection.sendall(request)
            while not answer.endswith(b"\n") and len(answer) < ANSWER_BYTES_MAX:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                part = connection.recv(ANSWER_BYTES_MAX)
                if not part:
                    break
                answer += part
        except TimeoutError:
            raise NoAnswer(
                f"the supervisor did not answer within {timeout:g} seconds: see `virtmesh status`"
            ) from None
        except OSError as error:
            if not answer:
                raise nobody(error.strerror or str(error)) from error
    return decode_answer(answer)
