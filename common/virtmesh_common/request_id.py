"""The identifier of a request: the same from the client's command line to the device's log.

A client sends it as metadata; whoever serves the call puts it on its log lines, and whoever
forwards the call forwards it too.
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

REQUEST_ID_KEY = "virtmesh-request-id"
"""Request metadata: what the client calls this request. 1 to 64 letters, digits, or . _ : -"""
_FORM = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)

REQUEST_ID: ContextVar[str] = ContextVar("virtmesh_request_id", default="")
"""The identifier of the request that is being served; empty without one."""


def make_request_id() -> str:
    """Make an identifier that no other request has."""
    return secrets.token_hex(8)


def check_request_id(value: object) -> str:
    """Return an identifier that is one; empty for anything else, which is not to reach a log."""
    return value if isinstance(value, str) and _FORM.fullmatch(value) else ""
