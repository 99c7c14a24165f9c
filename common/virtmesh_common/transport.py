"""What gRPC itself says when a call fails, in plain words.

gRPC writes every attempt and the name of its own parts into one long text. People need the cause,
which stands at its end, and what to do about it.
"""

from __future__ import annotations

import re

from virtmesh_common.proxy import find_proxy

PLAIN: tuple[tuple[str, str], ...] = (
    (r"keepalive|ping timeout", "the connection is dead: pings have no answer"),
    (r"too many pings", "the server allows fewer pings: connect with a larger keepalive, or 0"),
    (r"connection attempt timed out|connect timed out|timed out", "the connection timed out"),
    (r"DNS|address lookup|resolv", "its name is not known: check the spelling and the DNS"),
    (r"http1|HTTP/1|failed parsing HTTP/2|SETTINGS", "what listens there does not speak gRPC"),
    (r"connection reset", "the connection was reset: the service has ended, or something between"),
    (r"socket closed|endpoint closing|stream removed|goaway|broken pipe", "the connection closed"),
)
"""What is found in a text of gRPC, and what it means."""
SYSTEM = re.compile(
    r"(No such file or directory|Permission denied|Connection refused|No route to host"
    r"|Network is unreachable|Host is unreachable)"
)
"""Causes that the operating system has put well already."""
PROXY_REFUSAL = re.compile(r"HTTP proxy returned response code (\d+)", re.IGNORECASE)


def find_cause(details: str) -> str:
    """Return the cause of a failed connection from gRPC's text."""
    refusal = PROXY_REFUSAL.search(details)
    if refusal:
        return f"the proxy answered {refusal[1]}"
    system = SYSTEM.findall(details)
    if system:
        return str(system[-1])
    for pattern, meaning in PLAIN:
        if re.search(pattern, details, re.IGNORECASE):
            return meaning
    return details.rpartition("error: ")[2]


def name_proxy(address: str) -> str:
    """Return what to add to an error about an address that was tried through a proxy."""
    proxy = find_proxy(address)
    if not proxy:
        return ""
    host = address.rpartition(":")[0]
    return f" (through the proxy of {proxy}: add {host} to no_proxy to connect without it)"
