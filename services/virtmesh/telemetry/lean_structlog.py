"""structlog without Rich. It is imported before any other module imports structlog.

structlog imports Rich, where that is installed, for tracebacks that our logs do not have
(virtmesh.telemetry.logging). That is a fifth of the time that a service takes to start.
"""

import sys

if "structlog" not in sys.modules and "rich" not in sys.modules:
    # None: there is no such module.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401 - for the modules after this one
    finally:
        del sys.modules["rich"]
