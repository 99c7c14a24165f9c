"""Where servers listen, as people write it, and why one can't, with what to do."""

from __future__ import annotations

import errno


def spell_host_port(host: str, port: int | str) -> str:
    """Spell an address of TCP: an IPv6 address is in brackets (RFC 3986, 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def spell_listen_error(host: str, port: int, error: OSError) -> str:
    """Return the message for an error of listening at HOST:PORT, which is the option --listen."""
    place = spell_host_port(host, port)
    if error.errno == errno.EADDRINUSE:
        return f"{place} is in use; choose another with --listen"
    return f"can't listen at {place}: {error.strerror or error}"
