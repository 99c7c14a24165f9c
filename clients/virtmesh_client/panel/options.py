"""How a panel is started: where it listens, and what it asks for."""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh_client.listening import spell_host_port
from virtmesh_client.panel.audit import AUDIT
from virtmesh_client.panel.limits import PanelLimits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOGGER = logging.getLogger(AUDIT)
TOKEN_BYTES = 24
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")
"""What a token may look like: it travels in a URL and as the name of a subprotocol."""
PORT_MAX = 65_535


def make_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(TOKEN_BYTES)


@dataclass(frozen=True)
class PanelOptions:
    """Where a panel listens, and the token that opens it."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0: any that is free."""
    token: str = field(default_factory=make_token)
    security: Path | None = None
    """The security folder of the machine: the page has TLS, and the folder's tokens open it too."""
    insecure: bool = False
    """Plain text is allowed on the way to the machine."""
    idle_seconds: float = 20.0
    """How long a connection may ask for nothing, or take nothing."""
    limits: PanelLimits = field(default_factory=PanelLimits)
    """What browsers may have of it."""
    tell: Callable[[str], None] = LOGGER.info
    """Gets the lines of the audit, JSON each."""


def parse_listen(text: str, *, published: bool = False) -> tuple[str, int]:
    """Return host and port of HOST:PORT.

    The host must be of the loopback, unless the address is `published`: behind TLS, or on the
    loopback of another host, as that of a container is. Errors: ValueError, with the mend.
    """
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^:\[\]]+)):([0-9]{1,5})", text)
    if match is None or int(match[3]) > PORT_MAX:
        raise ValueError(f"{text!r} is no address: write HOST:PORT, such as 127.0.0.1:8080")
    host = match[1] or match[2]
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ValueError(f"{host!r} is no IP address: write 127.0.0.1 or [::1]") from None
    if not (address.is_loopback or published):
        raise ValueError(
            f"{host} can be reached from other hosts: add --security DIR, for TLS, or listen at"
            " 127.0.0.1 and come from elsewhere by ssh -L"
        )
    return str(address), int(match[3])


def check_token(token: str) -> str:
    """Return a token that somebody chose. Errors: ValueError."""
    if not TOKEN.fullmatch(token):
        raise ValueError("a token has 16 to 128 letters, digits, - or _")
    return token


def spell_url(host: str, port: int | str, token: str = "", *, tls: bool = False) -> str:
    """Spell the address of the page. A fragment never leaves the browser, nor gets into a log."""
    scheme = "https" if tls else "http"
    return f"{scheme}://{spell_host_port(host, port)}/" + (f"#token={token}" if token else "")
