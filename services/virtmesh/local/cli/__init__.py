"""The commands of `virtmesh` that need the services on this host."""

import virtmesh.telemetry.lean_structlog  # noqa: F401 - before structlog is imported
