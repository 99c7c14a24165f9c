"""structlog without Rich and Twisted. It is imported before any other module imports structlog.

structlog imports both, where they are installed: Rich for tracebacks that our logs do not have
(virtmesh.telemetry.logging), Twisted for programs of that. That is a fifth of the time that a
service takes to start.
"""

import sys

UNUSED = [name for name in ("rich", "twisted") if name not in sys.modules]
"""What structlog does without where it is not installed."""

if "structlog" not in sys.modules:
    for name in UNUSED:
        sys.modules[name] = None  # type: ignore[assignment] # there is no such module
    try:
        import structlog  # noqa: F401 - for the modules after this one
    finally:
        for name in UNUSED:
            del sys.modules[name]
