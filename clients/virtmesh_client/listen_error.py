"""Why a server of the command line can't listen, in words that say what to do."""

from __future__ import annotations

import errno


def spell_listen_error(host: str, port: int, error: OSError) -> str:
    """Return the message for an error of listening at HOST:PORT, which is the option --listen."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"{place} is in use; choose another with --listen"
    return f"can't listen at {place}: {error.strerror or error}"
